"""The demo: real databases and files, measured, priced and billed; safe to repeat."""

from datetime import date
from io import StringIO

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from billing_site import demo
from catalog.models import Service, User
from catalog.terms import Cycle, term
from invoicing.models import Invoice, Line
from metering.models import Collection


def run_demo():
    out = StringIO()
    call_command("demo", stdout=out)
    return out.getvalue()


@pytest.fixture
def tenants():
    """The demo makes databases, and databases outlive a test's transaction."""
    yield
    params = connection.get_connection_params()
    with psycopg.connect(host=params["host"], user=params["user"], dbname="postgres", autocommit=True) as server:
        for database in demo.DATABASES:
            server.execute(f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")


@pytest.mark.django_db
def test_every_number_is_measured_and_ends_on_an_invoice(tenants, monkeypatch):
    monkeypatch.setenv("DEMO_PASSWORD", "a password of one's own")
    said = run_demo()
    assert "a password of one's own" in said
    assert "backdated" in said
    assert set(Collection.objects.values_list("status", flat=True)) == {"complete"}
    lines = {(line.service.name, line.setting.metric.system_name): line for line in Line.objects.filter(kind="usage")}
    assert lines["brandt_crm", "tables"].quantity == 25
    assert lines["brandt_crm", "tables"].detail == "25 tables: 9 at €1.90, 10 at €0.95, 6 at €0.48"
    assert lines["lindqvist_media", "files"].quantity == 120
    assert lines["lindqvist_media", "disk_used"].quantity == 18
    assert all(line.quantity > 1 for (_, metric), line in lines.items() if metric == "disk_used")
    assert User.objects.get(email=demo.STAFF).check_password("a password of one's own")
    counts = Service.objects.count(), Invoice.objects.count()
    again = run_demo()
    assert (Service.objects.count(), Invoice.objects.count()) == counts
    assert "0 invoices issued" in again


@pytest.mark.django_db
def test_it_makes_no_databases_on_a_server_that_is_not_its_own(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ENGINE", "django.db.backends.postgresql")
    with pytest.raises(CommandError, match="only on the embedded one"):
        run_demo()


@given(st.dates(date(2024, 1, 1), date(2030, 1, 1)))
def test_on_every_day_of_the_year_the_services_renew_today(today):
    anchor, number = demo.backdated(today)
    assert term(anchor, Cycle.MONTHLY, number).start == today
