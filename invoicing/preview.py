"""A dry run whose outcome is kept: what would be billed, what differs from last time, and what waits.

It is made by the billing run itself, and rolled back.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

from django.db import connections, transaction
from django.utils import timezone

from catalog.models import Service, User
from catalog.writing import Writing
from invoicing import review
from invoicing.billing import Progress, create_invoices
from invoicing.gathering import Gathering
from invoicing.models import Decision, Preview
from invoicing.preview_rows import rows_of

logger = logging.getLogger(__name__)

#: For how long outcomes are kept.
KEPT = timedelta(days=90)
#: How long it is silent between two words about how far it is.
EVERY = timedelta(milliseconds=500)
NEVER = datetime.min.replace(tzinfo=UTC)


def ask(*, on: date, at: datetime, by: User | None) -> Preview:
    """Ask for a dry run; `make` makes it."""
    Preview.objects.filter(asked_at__lt=at - KEPT).delete()
    return Preview.objects.create(on=on, asked_at=at, asked_by=by)


def make(*, pk: int, at: datetime, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Make a dry run that was asked for and keep what came of it, or why it failed. Only the first call does."""
    if not Preview.objects.filter(pk=pk, began_at=None, ended_at=None).update(began_at=at, beat_at=at):
        return
    one = Preview.objects.get(pk=pk)
    gathering = Gathering(one.on)
    try:
        # Its words are kept for everybody who looks at it, so they are in the site's language.
        with Writing(""):
            with _telling(one) as tell:
                result = create_invoices(
                    on=one.on, at=at, dry_run=True, gather=gathering.add, progress=tell, should_stop=should_stop
                )
            one.outcome = gathering.outcome(result, at)
        one.due, one.done = result.run.due, result.run.services
        if should_stop():
            one.outcome, one.error = {}, "The worker was stopped. Make it again."
    except Exception as error:
        logger.exception("dry run %s failed", pk)
        one.error = f"{type(error).__name__}. The log has the details."
    one.ended_at = one.beat_at = timezone.now()
    one.save()


def decide(*, one: Preview, verdicts: Mapping[int, str], at: datetime, by: User, reason: str = "") -> int:
    """Write down what a person decided about services of a dry run, by their ids, where that is new. Returns how
    many."""
    rows = {row.service: row for row in (*rows_of(one, "rows"), *rows_of(one, "left"))}
    chosen = {pk: verdict for pk, verdict in verdicts.items() if pk in rows}
    with transaction.atomic():
        # One of two people who decide at once comes first.
        services = Service.objects.filter(pk__in=chosen).select_for_update().order_by("pk")
        known = review.decisions([service.pk for service in services])
        made = [
            Decision(
                service_id=pk,
                verdict=verdict,
                through=one.on,
                amount=rows[pk].approved_amount,
                reason=reason,
                at=at,
                by=by,
            )
            for pk, verdict in chosen.items()
            if verdict != rows[pk].verdict(known.get(pk))
        ]
        Decision.objects.bulk_create(made)
    return len(made)


@contextmanager
def _telling(one: Preview) -> Iterator[Progress]:
    """Say how far a dry run is, on a connection of its own: what is written on the other one is rolled back."""
    beside, last = connections.create_connection("default"), NEVER

    def tell(done: int, due: int) -> None:
        nonlocal last
        now = timezone.now()
        if now - last < EVERY:
            return
        last = now
        with beside.cursor() as cursor:
            cursor.execute(
                "UPDATE invoicing_preview SET done = %s, due = %s, beat_at = %s WHERE id = %s",
                [done, due, now, one.pk],
            )

    try:
        yield tell
    finally:
        beside.close()
