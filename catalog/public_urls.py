"""Pages for everybody."""

from django.urls import path

from catalog import price_list_views

urlpatterns = [
    path("prices/", price_list_views.price_lists, name="price_lists"),
    path("prices/<slug:slug>/", price_list_views.price_list, name="price_list"),
]
