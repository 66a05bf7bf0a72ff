"""The deed of collecting all servers: side by side, so that the slow and the dead do not delay the others."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from threading import Thread

from django.conf import settings
from django.db import connection
from django.utils import timezone

from metering import collection, partitions
from metering.answers import Progress
from metering.models import Collection, Server
from metering.providers.secrecy import traced
from metering.server_lock import Busy

#: What is said of collections is found under one name, of whichever server it is.
logger = logging.getLogger(collection.__name__)

#: A server that was come to, and the record of its collection if there is one.
Outcome = tuple[Server, Collection | None]


def collect_all(
    *,
    as_of: datetime,
    servers: Iterable[Server] | None = None,
    done: Callable[[Server, Collection | None], None] = lambda server, record: None,
    progress: Progress = lambda seen: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Collection]:
    """Collect every active server that is asked, side by side, each isolated from the others; return the records.

    `as_of` is the instant at which this is called; each server is collected as of that at which its turn comes.
    `done` is called after each server with its record, or None when another process was collecting it;
    `progress` with the number of tenants seen so far of a server that is asked. Once `should_stop` says so,
    no further server is begun. It returns when all that was begun is written, save for servers that hang.
    Inside of a transaction, which other connections would not see, servers are collected one after the other.
    """
    partitions.ensure_ahead(as_of.date())
    chosen = list(Server.objects.asked() if servers is None else servers)
    begun = timezone.now()

    def collected(server: Server) -> Collection | None:
        if should_stop():
            return None
        # Its turn may come a good while after the first one's, and on another day.
        own = as_of + max(timezone.now() - begun, timedelta(0))
        try:
            return collection.collect_with_look_back(server=server, as_of=own, progress=progress)
        except Busy:
            logger.info("%s is being collected by another process", server)
            return None

    records = []
    for server, record in _one_by_one(chosen, collected) if connection.in_atomic_block else _apart(chosen, collected):
        records.append(record)
        done(server, record)
    return [record for record in records if record]


def _one_by_one(servers: Iterable[Server], collected: Callable[[Server], Collection | None]) -> Iterator[Outcome]:
    for server in servers:
        yield server, collected(server)


def _apart(servers: Sequence[Server], collected: Callable[[Server], Collection | None]) -> Iterator[Outcome]:
    """Collect in threads with a connection each, and yield what has ended. Whoever hangs is left behind after
    `COLLECTING_SECONDS`: to wait for it would keep invoices from being made. What it writes later is late usage."""
    waiting: SimpleQueue[Server] = SimpleQueue()
    ended: SimpleQueue[Outcome] = SimpleQueue()
    for server in servers:
        waiting.put(server)

    def work() -> None:
        with suppress(Empty):
            while True:
                server, record = waiting.get_nowait(), None
                try:
                    record = collected(server)
                except Exception as error:
                    logger.error("collecting %s failed: %s", server, traced(error))
                finally:
                    ended.put((server, record))
                    connection.close()  # of this thread

    for number in range(min(settings.COLLECTORS, len(servers))):
        Thread(target=work, name=f"collector-{number}", daemon=True).start()
    left, until = set(servers), time.monotonic() + settings.COLLECTING_SECONDS
    while left:
        try:
            outcome = ended.get(timeout=max(until - time.monotonic(), 0))
        except Empty:
            logger.error("left behind, since they did not end in time: %s", ", ".join(sorted(map(str, left))))
            return
        left.discard(outcome[0])
        yield outcome
