"""Lists of records in Django's admin that stay fast among millions: indexed orders, searches and filters only."""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db import DataError
from django.db.models import QuerySet
from django.http import HttpRequest

from metering import lookup
from metering.paging import CappedPaginator


class Capped(admin.ModelAdmin):  # type: ignore[type-arg]
    """A list that never counts its whole table. Every list of Django's admin is one."""

    paginator = CappedPaginator
    show_full_result_count = False

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """What an address asks for in vain leads to the whole list, also where only the database finds that out."""
        try:
            return super().get_changelist_instance(request)
        except (DataError, ValueError) as error:
            raise IncorrectLookupParameters(error) from error


class Records(Capped):
    """`found_by` are the columns that it is searched by: each has the indexes of metering.lookup. Short lists may have
    Django's `search_fields` instead."""

    ordering: ClassVar = ["-pk"]
    sortable_by: ClassVar = ()
    show_facets = admin.ShowFacets.NEVER
    found_by: ClassVar[tuple[str, ...]] = ()

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return self.found_by or tuple(super().get_search_fields(request))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not self.found_by:
            return super().get_search_results(request, queryset, search_term)
        text = lookup.cleaned(search_term)
        return (self.search(queryset, text) if text else queryset), False

    def search(self, rows: QuerySet[Any], text: str) -> QuerySet[Any]:
        return rows.filter(pk__in=lookup.found(self.model._default_manager.all(), self.found_by, text))


class RawRecords(Records):
    """What has pages of its own: it is listed for administrators only, who may look at what is stored."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(getattr(request.user, "is_superuser", False))
