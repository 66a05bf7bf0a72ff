"""The global switch "Enable metric usage invoicing"."""

from collections.abc import Iterable
from datetime import date, timedelta

from django.db import connection, transaction

from catalog import spans
from catalog.models import EnabledSpan
from invoicing.models import InvoicingSpan


def is_on(day: date) -> bool:
    return spans.covered(InvoicingSpan.objects.all(), day)


def was_on(enabled: Iterable[EnabledSpan], switched: Iterable[InvoicingSpan], start: date, end: date) -> bool:
    """Whether a period lies wholly inside one span of its metric and one of usage invoicing, of those given."""
    last = end - timedelta(days=1)
    return spans.covered(enabled, start, last) and spans.covered(switched, start, last)


@transaction.atomic
def switch(*, on: bool, day: date) -> bool:
    """Switch usage invoicing on or off from a day. Returns whether that changed anything.

    What is used while it is off is not billed later.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {InvoicingSpan._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")
    return spans.switch(InvoicingSpan.objects.all(), on=on, day=day)
