"""What the site moves by itself writes no entries: billing, collecting, signing in, and keys that are used."""

from datetime import date

import pytest
from django.db import connection

from audit.models import Entry
from invoicing.billing import create_invoices
from metering import push_keys
from tests.builders import (
    DISK,
    TRAFFIC,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_tenant,
    at,
    collected,
    priced,
    tenant_says,
)

pytestmark = pytest.mark.django_db


def newest():
    return Entry.objects.order_by("-id").values_list("pk", flat=True).first()


def test_collecting_and_billing_write_no_entry():
    server, product = a_server(), a_product()
    for declared in (DISK, TRAFFIC):
        priced(a_setting(product, declared), ("0", "1"))
    services = [a_service(product, tenant=a_tenant(server, f"t{number}")) for number in range(3)]
    before = newest()
    collected(server, "2026-10-31 12:00", *(tenant_says(f"t{number}", disk=5, traffic=7) for number in range(3)))
    run = create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 07:00")).run
    assert run.invoices == 1 or run.services == 3
    assert newest() == before
    services[0].refresh_from_db()
    assert services[0].next_term == 2


def test_moving_the_due_day_of_services_does_not_even_call_a_trigger():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attname FROM pg_trigger, unnest(tgattr) AS number JOIN pg_attribute ON attnum = number"
            " WHERE tgname = 'audit_update' AND tgrelid = 'catalog_service'::regclass"
            " AND attrelid = 'catalog_service'::regclass"
        )
        looked_at = {name for (name,) in cursor.fetchall()}
    assert looked_at
    assert looked_at.isdisjoint({"next_term", "next_due_on"})


def test_a_push_key_that_is_used_writes_no_entry():
    _, token = push_keys.make(server=a_server(), name="shop", by=None, at=at("2026-11-01 06:00"))
    before = newest()
    assert push_keys.use(token, at=at("2026-11-01 07:00"))
    assert newest() == before
