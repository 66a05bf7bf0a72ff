"""Staff pages about servers and collections."""

from django.urls import path

from metering import views

urlpatterns = [
    path("servers/", views.servers, name="staff_servers"),
    path("servers/new/<slug:provider>/", views.new_server, name="staff_server_new"),
    path("servers/<int:pk>/", views.server, name="staff_server"),
    path("servers/<int:pk>/edit/", views.edit_server, name="staff_server_edit"),
    path("servers/<int:pk>/test/", views.test_connection, name="staff_server_test"),
    path("servers/<int:pk>/collect/", views.collect_now, name="staff_server_collect"),
    path("collections/", views.collections, name="staff_collections"),
    path("collections/<int:pk>/", views.collection, name="staff_collection"),
]
