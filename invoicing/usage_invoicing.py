"""The global switch "Enable metric usage invoicing"."""

from datetime import date

from django.db import connection, transaction

from catalog import spans
from invoicing.models import InvoicingSpan


def is_on(day: date) -> bool:
    return spans.covered(InvoicingSpan.objects.all(), day)


@transaction.atomic
def switch(*, on: bool, day: date) -> bool:
    """Switch usage invoicing on or off from a day. Returns whether that changed anything.

    What is used while it is off is not billed later.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {InvoicingSpan._meta.db_table} IN SHARE ROW EXCLUSIVE MODE")
    return spans.switch(InvoicingSpan.objects.all(), on=on, day=day)
