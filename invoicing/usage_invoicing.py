"""The global switch "Enable metric usage invoicing"."""

from datetime import date

from django.db import transaction

from catalog.models import covered
from invoicing.models import InvoicingSpan


def is_on(day: date) -> bool:
    return covered(InvoicingSpan.objects.all(), day)


@transaction.atomic
def switch(*, on: bool, day: date) -> None:
    """Switch usage invoicing on or off from a day.

    What is used while it is off is not billed later. Switching to what it is already changes nothing, and
    two switches on one day leave it as if there had been none.
    """
    spans = InvoicingSpan.objects.select_for_update()
    current = spans.filter(end=None).first()
    if on and current is None:
        if spans.filter(end=day).update(end=None) == 0:
            InvoicingSpan.objects.create(start=day)
    elif not on and current is not None:
        if current.start == day:
            current.delete()
        else:
            current.end = day
            current.save(update_fields=["end"])
