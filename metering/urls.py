"""Staff pages about servers, collections, and what their tenants used."""

from datetime import date

from django.urls import path, register_converter

from metering import collection_views, correction_views, push_views, views


class Day:
    """A day of this millennium in an address: `2026-11-18`."""

    regex = "2[0-9]{3}-[0-9]{2}-[0-9]{2}"

    def to_python(self, text: str) -> date:
        return date.fromisoformat(text)

    def to_url(self, day: date) -> str:
        return day.isoformat()


register_converter(Day, "day")

urlpatterns = [
    path("servers/", views.servers, name="staff_servers"),
    path("servers/new/<slug:provider>/", views.new_server, name="staff_server_new"),
    path("servers/<int:pk>/", views.server, name="staff_server"),
    path("servers/<int:pk>/edit/", views.edit_server, name="staff_server_edit"),
    path("servers/<int:pk>/test/", views.test_connection, name="staff_server_test"),
    path("servers/<int:pk>/collect/", views.collect_now, name="staff_server_collect"),
    path("servers/<int:pk>/keys/", push_views.make_key, name="staff_push_key_new"),
    path("servers/<int:pk>/keys/<int:key_id>/revoke/", push_views.revoke_key, name="staff_push_key_revoke"),
    path("servers/<int:pk>/import/", push_views.upload, name="staff_import_new"),
    path("servers/<int:pk>/import/<uuid:upload_id>/", push_views.import_file, name="staff_import"),
    path("collections/", collection_views.collections, name="staff_collections"),
    path("collections/<int:pk>/", collection_views.collection, name="staff_collection"),
    path("collections/<int:pk>/decide/", collection_views.decide, name="staff_collection_decide"),
    path("tenants/<int:tenant_id>/metrics/<int:metric_id>/usage/", correction_views.usage, name="staff_usage"),
    path(
        "tenants/<int:tenant_id>/metrics/<int:metric_id>/usage/<day:start>/",
        correction_views.usage_period,
        name="staff_usage_period",
    ),
]
