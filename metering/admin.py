"""Who uses how much, in Django's admin: to look things up. Servers are added on their own page.

Readings, latest values and usage are not registered: they have composite keys, and are never edited.
"""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from metering.models import Collection, Metric, Server, Tenant
from metering.records import RawRecords, Records


@admin.register(Server)
class ServerAdmin(RawRecords):
    """Credentials are neither shown nor loaded; they and the settings are entered on the server's own page."""

    list_display = ("name", "provider_title", "time_zone", "is_active", "collected_at")
    list_filter = ("provider", "is_active")
    search_fields = ("name",)
    fields = ("name", "provider", "time_zone", "is_active", "settings", "collected_at", "created_at")
    readonly_fields = ("provider", "settings", "collected_at", "created_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Server]:
        return super().get_queryset(request).defer("credentials")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.display(description=_("Provider"), ordering="provider")
    def provider_title(self, server: Server) -> str:
        return server.provider_title


@admin.register(Tenant)
class TenantAdmin(Records):
    """A tenant can be named before a collection sees it. Its usage hangs on it, so it is never deleted."""

    list_display = ("key", "server", "first_seen_at", "missing_since")
    list_select_related = ("server",)
    found_by = ("key",)
    raw_id_fields = ("server",)
    readonly_fields = ("first_seen_at", "missing_since")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        return super().get_queryset(request).defer("server__credentials", "server__settings")

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "server", "key") if obj else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        if not change:  # or what was read some time ago would be written back
            super().save_model(request, obj, form, change)

    def has_delete_permission(self, request: HttpRequest, obj: Tenant | None = None) -> bool:
        return False


class ReadOnly(RawRecords):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Collection)
class CollectionAdmin(ReadOnly):
    list_display = ("id", "server", "status", "as_of", "tenants", "values_seen", "readings_stored", "rejected")
    list_select_related = ("server",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Collection]:
        return super().get_queryset(request).defer("problems", "server__credentials", "server__settings")


@admin.register(Metric)
class MetricAdmin(ReadOnly):
    """What providers declared last; the next collection would undo a change."""

    list_display = ("display_name", "system_name", "provider", "type", "unit")
    list_filter = ("provider", "type")
    search_fields = ("display_name", "system_name")
