"""Monthly partitions of the hot tables, which several processes may need at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
from django.db import connection, transaction

from metering import partitions, server_lock
from tests.builders import a_server

MONTHS = [date(2035, 3, 1), date(2035, 7, 1)]
WAITING = (
    "SELECT count(*) FROM pg_locks"
    " WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@pytest.fixture
def no_partitions(transactional_db):
    """Leaves the database without those of MONTHS, as it was before."""
    drop_those_of_months()
    yield
    drop_those_of_months()


def drop_those_of_months():
    with connection.cursor() as cursor:
        for table in ("metering_usage", "metering_reading"):
            for month in MONTHS:
                cursor.execute(f"DROP TABLE IF EXISTS {table}_{month:%Y_%m}")


def made():
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^metering_.*_2035_' ORDER BY 1")
        return [name for (name,) in cursor.fetchall()]


def until_somebody_waits():
    with connection.cursor() as cursor:
        for _ in range(200):
            cursor.execute(WAITING)
            if cursor.fetchone()[0]:
                return
            time.sleep(0.05)
    raise AssertionError("nobody waits")


@pytest.mark.usefixtures("no_partitions")
def test_two_that_need_new_months_in_long_transactions_do_not_stop_each_other():
    """An import makes one month, somebody else needs another, and then so does the import."""
    begun = threading.Event()

    def somebody_else():
        begun.wait(20)
        try:
            partitions.ensure(MONTHS[1:])
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(somebody_else)
        with transaction.atomic():
            partitions.ensure(MONTHS[:1])
            begun.set()
            until_somebody_waits()
            partitions.ensure(MONTHS[1:])
        waits.result(20)
    assert made() == [
        "metering_reading_2035_03",
        "metering_reading_2035_07",
        "metering_usage_2035_03",
        "metering_usage_2035_07",
    ]


@pytest.mark.django_db
def test_one_of_two_that_wait_for_each_other_is_told_that_the_server_is_busy():
    server = a_server()
    with (
        pytest.raises(server_lock.Busy, match="Send it again"),
        server_lock.alone(server, wait="1s", busy="Send it again."),
        connection.cursor() as cursor,
    ):
        cursor.execute("DO $$ BEGIN RAISE deadlock_detected; END $$")
