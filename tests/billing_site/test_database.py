"""A connection that is kept between requests proves that it lives without asking the server."""

import select

import psycopg
import pytest
from django.db import connection
from django.db.backends.postgresql.base import DatabaseWrapper
from django.test import Client

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def asked(monkeypatch):
    """How often Django asked the server whether a connection lives."""
    asked = []
    real = DatabaseWrapper.is_usable
    monkeypatch.setattr(DatabaseWrapper, "is_usable", lambda self: asked.append(1) or real(self))
    yield asked
    connection.close()


def kept():
    """The connection as the next request finds it, not looked at yet. Returns the server's process."""
    connection.ensure_connection()
    connection.health_check_enabled, connection.health_check_done = True, False
    return connection.connection.info.backend_pid


def by_another(statement):
    info = connection.connection.info
    with psycopg.connect(info.dsn, host=info.host, autocommit=True) as other:
        other.execute(statement)


def test_a_connection_that_lives_is_kept_without_a_round_trip(asked):
    process = kept()
    assert Client().get("/healthz").status_code == 200
    assert connection.connection.info.backend_pid == process
    assert asked == []


def test_one_that_the_server_ended_is_opened_anew(asked):
    process = kept()
    by_another(f"SELECT pg_terminate_backend({process}, 5000)")
    connection.close_if_health_check_failed()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() != (process,)
    assert asked == [1]


def test_what_the_server_says_meanwhile_is_no_reason_to_close(asked):
    process = kept()
    with connection.cursor() as cursor:
        cursor.execute("LISTEN said")
    by_another("NOTIFY said")
    assert select.select([connection.connection.fileno()], [], [], 60)[0]  # it comes when the server gets to it
    connection.health_check_done = False
    connection.close_if_health_check_failed()
    assert connection.connection.info.backend_pid == process
    assert asked == [1]
