"""What a server answers, tenant by tenant as it comes, until it ends, fails or takes too long."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connections

from metering.models import Collection
from metering.periods import Period
from metering.providers.base import Provider, ProviderError, TenantUsage

#: Is called with the number of tenants seen so far.
Progress = Callable[[int], None]


class Answers:
    """Passes answers on until the provider fails, or goes on beyond the instant `ends`; what came before is kept.

    After that, `error` says how the provider failed, and `stop` is what it raised beyond its contract.
    """

    def __init__(self, source: Iterator[TenantUsage], progress: Progress, ends: float) -> None:
        self.source = source
        self.progress = progress
        self.ends = ends
        self.error = ""
        self.stop: BaseException | None = None

    def __iter__(self) -> Iterator[TenantUsage]:
        try:
            for number, answer in enumerate(self.source, start=1):
                if time.monotonic() > self.ends:
                    most = f"{settings.COLLECTION_SECONDS:g} s"
                    raise ProviderError(
                        f"It had not answered in full when the time for a collection, {most}, was over."
                    )
                if number % 1000 == 0:
                    self.progress(number)
                yield answer
        except ProviderError as error:
            self.error = str(error)
        except (Exception, SystemExit) as error:
            # Raised once the copying is over, which would tell it to the database, and to its log.
            self.stop = error


@contextmanager
def asked(provider: Provider, record: Collection, *, ends: float, progress: Progress) -> Iterator[Answers]:
    """Ask for what a collection is about. As the answers come, its row and `progress` are told how far it is."""
    with _telling(record, progress) as tell:
        yield Answers(_usage(provider, record), tell, ends)


def _usage(provider: Provider, record: Collection) -> Iterator[TenantUsage]:
    if record.tenant_key:
        yield provider.tenant_usage(record.tenant_key)
    elif record.period_start and record.period_end:
        yield from provider.usage(Period(record.period_start, record.period_end))
    else:
        yield from provider.usage()


@contextmanager
def _telling(record: Collection, progress: Progress) -> Iterator[Progress]:
    """Say how far a collection is, on a connection of its own: what it does is not committed before its end."""
    beside, said = connections.create_connection("default"), 0.0

    def tell(seen: int) -> None:
        nonlocal said
        progress(seen)
        if time.monotonic() - said > 1:
            said = time.monotonic()
            with beside.cursor() as cursor:
                cursor.execute("UPDATE metering_collection SET seen_so_far = %s WHERE id = %s", [seen, record.pk])

    try:
        yield tell
    finally:
        beside.close()
