"""The deed of deciding about a held collection: a person has its values stored, or drops them."""

from datetime import datetime

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction

from metering import staging
from metering.collection import lock_server, store_staged
from metering.declaring import known_metrics
from metering.models import Collection, HeldValue
from metering.periods import local_day
from metering.providers.base import MetricType


class NotHeld(Exception):
    """A collection that should be stored or dropped is not held, or not any more."""


def approve(*, record: Collection, at: datetime, by: AbstractBaseUser) -> None:
    """Store what a collection holds, as it was then. Raises NotHeld, and Busy."""
    with transaction.atomic():
        lock_server(record)
        _check_held(record)
        held = HeldValue.objects.filter(collection_id=record.pk)
        if Collection.objects.stored().filter(server=record.server, pk__gt=record.pk).exists():
            raise NotHeld(f"Newer values of {record.server} are stored. Collect it again instead.")
        metrics = known_metrics(record.server.provider)
        # An increase counts for the day of its collection, which is another one by another time zone.
        counters = held.filter(metric_id__in=[row.pk for row in metrics.values() if row.type == MetricType.COUNTER])
        if counters.exclude(start=local_day(record.as_of, record.server.zone)).exists():
            raise NotHeld(f"The time zone of {record.server} was changed since. Collect it again instead.")
        staging.stage_held(record)
        # They were whole, or they would not have been held.
        record.error = ""
        months = {start for start in held.values_list("start", flat=True).distinct() if start}
        store_staged(record, metrics, months, is_whole=True, at=at)
        record.decided_at, record.decided_by_id = at, by.pk
        record.save()
        held.delete()


def drop(*, record: Collection, at: datetime, by: AbstractBaseUser) -> None:
    """Throw away what a collection holds. Raises NotHeld, and Busy."""
    with transaction.atomic():
        lock_server(record)
        _check_held(record)
        record.status, record.decided_at, record.decided_by_id = Collection.Status.DROPPED, at, by.pk
        record.save()
        HeldValue.objects.filter(collection_id=record.pk).delete()


def _check_held(record: Collection) -> None:
    record.refresh_from_db()
    if record.status != Collection.Status.HELD:
        raise NotHeld(f"Collection {record} is {record.status}, not held.")
