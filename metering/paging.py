"""Pages of lists that may be of any length."""

from functools import cached_property
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import IntegerField, QuerySet, Subquery

#: So many rows of a list can be paged through; the others are found by searching.
MOST = 2000


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts up to MOST rows and no further, so that a page takes as long whether there are thousands or millions.

    Django's admin and our own lists have it. Rows beyond are not listed: `is_capped` says so on the last page.
    """

    @cached_property
    def _found(self) -> int:
        rows = self.object_list
        return capped(rows, MOST) if isinstance(rows, QuerySet) else len(rows)

    @cached_property
    def count(self) -> int:
        return min(self._found, MOST)

    @property
    def is_capped(self) -> bool:
        return self._found > MOST

    def get_page(self, number: int | float | str | None) -> Page:  # type: ignore[type-arg]
        """Return a page, or the nearest that there is. A list of one page is not counted: it is read whole."""
        rows = self.object_list
        if number not in (None, "", "1", 1) or not isinstance(rows, QuerySet):
            return super().get_page(number)
        shown = list(rows[: self.per_page + 1])
        if len(shown) <= self.per_page:
            self._found = len(shown)
        return Page(shown[: self.per_page], 1, self)

    def page(self, number: int | str) -> Page:  # type: ignore[type-arg]
        """Return a page. Of the rows before it only the ids are read, and nothing is joined to them."""
        rows, number = self.object_list, self.validate_number(number)
        if number == 1 or not isinstance(rows, QuerySet):
            return super().page(number)
        bottom = (number - 1) * self.per_page
        ids = list(rows.values_list("pk", flat=True)[bottom : min(bottom + self.per_page, self.count)])
        return Page(rows.filter(pk__in=ids), number, self)


def capped(rows: QuerySet[Any], most: int = 100) -> int:
    """Count rows up to one more than `most`: what is above says only that there are more."""
    return rows.order_by().values("pk")[: most + 1].count()


class CappedCount(Subquery):
    """Counts the rows of a subquery, which is cut to one more than is to be told apart."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS few)"
    output_field = IntegerField()
