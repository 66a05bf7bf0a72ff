"""The global switch "Enable metric usage invoicing"."""

from collections.abc import Collection, Iterable
from datetime import date

from django.db import connection, transaction

from catalog import spans
from catalog.models import EnabledSpan
from invoicing.models import InvoicingSpan


def is_on(day: date) -> bool:
    return spans.covered(InvoicingSpan.objects.all(), day)


def when_on(enabled: Iterable[EnabledSpan], switched: Collection[InvoicingSpan]) -> list[tuple[date, date]]:
    """Return the days `[start, end)` that lie in one span of a metric and in one of usage invoicing, of those given:
    whatever lies wholly in one of these was on."""
    return [
        (max(metric.start, one.start), min(metric.end or date.max, one.end or date.max))
        for metric in enabled
        for one in switched
    ]


def was_on(on: Iterable[tuple[date, date]], start: date, end: date) -> bool:
    """Whether a period lies wholly in one of the spans that `when_on` returned."""
    for first, last in on:  # noqa: SIM110 (a run asks for every day, and `any` takes four times as long)
        if first <= start and end <= last:
            return True
    return False


@transaction.atomic
def switch(*, on: bool, day: date) -> bool:
    """Switch usage invoicing on or off from a day. Returns whether that changed anything.

    What is used while it is off is not billed later.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {InvoicingSpan._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")
    return spans.switch(InvoicingSpan.objects.all(), on=on, day=day)
