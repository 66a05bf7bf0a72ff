"""Rules that matter hold in the database too, where NaN sorts above every number."""

from datetime import date

import pytest
from django.db import DataError, IntegrityError, connection, transaction

from metering import partitions
from metering.models import Server, Tenant
from metering.vault import Credentials
from tests.builders import a_server, at

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("value", ["'NaN'", "-1", "1e18 + 1", "'Infinity'"])
@pytest.mark.parametrize("table", ["latest", "reading", "usage"])
def test_no_table_takes_a_value_that_is_no_quantity(table, value):
    partitions.ensure([date(2026, 11, 1)])
    columns = {
        "latest": "tenant_id, metric_id, start, read_at, collection_id, value",
        "reading": 'tenant_id, metric_id, start, "end", read_at, collection_id, value',
        "usage": 'tenant_id, metric_id, start, "end", collection_id, value',
    }[table]
    values = {
        "latest": "1, 1, '2026-11-01', '2026-11-01', 1",
        "reading": "1, 1, '2026-11-01', '2026-11-02', '2026-11-01', 1",
        "usage": "1, 1, '2026-11-01', '2026-11-02', 1",
    }[table]
    with (
        pytest.raises((IntegrityError, DataError)),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(f"INSERT INTO metering_{table} ({columns}) VALUES ({values}, {value})")


def test_credentials_are_encrypted_in_the_database_and_never_printed():
    server = a_server()
    server.credentials = Credentials(token="s3cret-canary")
    server.save()
    with connection.cursor() as cursor:
        cursor.execute("SELECT credentials FROM metering_server")
        assert "s3cret-canary" not in cursor.fetchone()[0]
    again = Server.objects.get()
    assert again.credentials["token"] == "s3cret-canary"
    assert "s3cret-canary" not in f"{again.credentials} {again.credentials!r} {vars(again)!r}"


def test_a_tenant_is_there_once_per_server():
    server = a_server()
    Tenant.objects.create(server=server, key="alice", first_seen_at=at("2026-11-01 06:00"))
    with pytest.raises(IntegrityError, match="one_tenant_per_server_and_key"), transaction.atomic():
        Tenant.objects.create(server=server, key="alice")


def test_partitions_are_made_once_and_ahead_of_need():
    partitions.ensure_ahead(date(2031, 11, 15))
    partitions.ensure_ahead(date(2031, 11, 15))
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relname ~ '^metering_usage_203[12]_[0-9]+$' ORDER BY 1")
        assert [name[-7:] for (name,) in cursor.fetchall()] == ["2031_11", "2031_12", "2032_01", "2032_02"]
