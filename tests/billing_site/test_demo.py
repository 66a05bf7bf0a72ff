"""The demo: real databases and files, measured, priced and billed; safe to repeat."""

import os
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from io import StringIO
from unittest import mock

import psycopg
import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import TestCase
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from billing_site import demo, demo_months, demo_plans, jobs
from catalog.models import Client, ClientUser, Product, Role, Service, User
from catalog.terms import Cycle, term
from invoicing import overview, verification
from invoicing.models import (
    Alert,
    Crossing,
    Difference,
    DraftInvoice,
    Invoice,
    Line,
    Payment,
    Question,
    Run,
    RunNote,
)
from invoicing.settlements import of_differences
from metering.models import Collection, Correction, Server, Tenant, Usage


def run_demo():
    out = StringIO()
    call_command("demo", stdout=out)
    return out.getvalue()


def states_of(invoices):
    return [invoice.state for invoice in invoices.with_state(timezone.localdate())]


def the_client_has_a_year_to_look_back_on_and_a_forecast():
    service = Service.objects.select_related("client", "product", "tenant__server").get(name="shop.lindqvist.test")
    assert ClientUser.objects.filter(client=service.client, user__email=demo.CLIENT).exists()
    days = Usage.objects.filter(tenant_id=service.tenant_id).values_list("start", flat=True)
    assert min(days) <= timezone.localdate() - timedelta(days=365)
    assert len({day.replace(day=1) for day in days}) >= 13
    assert Invoice.objects.of_service(service).count() >= 12
    [found] = overview.at_a_glance([service], at=timezone.now())
    assert found.expected is not None
    assert Decimal(0) < found.expected.low < found.expected.expected < found.expected.high < 150
    assert list(verification.verify()) == []
    assert len({line.statement_id for line in Line.objects.filter(service=service)}) > 3  # prices changed meanwhile
    percents = Invoice.objects.order_by("tax_percent").values_list("tax_percent", flat=True)
    assert set(percents) == {None, Decimal(0), Decimal(19)}
    assert {"de", "fr", "es"} <= set(Client.objects.values_list("language", flat=True))
    assert set(Service.objects.values_list("status", flat=True)) == {"active", "pending", "suspended", "terminated"}


def what_is_there():
    return [each.objects.count() for each in (Service, Invoice, Run, Alert, Payment, Question)]


class TestOneDemo(TestCase):
    """What it makes, made once for all of these: that takes longer than all else here."""

    @classmethod
    def setUpTestData(cls):
        with mock.patch.dict(os.environ, DEMO_PASSWORD="a password of one's own"):
            cls.said = run_demo()

    @classmethod
    def tearDownClass(cls):
        """The demo makes databases, and databases outlive a test's transaction."""
        super().tearDownClass()
        params = connection.get_connection_params()
        with psycopg.connect(host=params["host"], user=params["user"], dbname="postgres", autocommit=True) as server:
            for database in demo.DATABASES:
                server.execute(f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)")

    def test_every_number_is_measured_and_ends_on_an_invoice(self):
        assert "a password of one's own" in self.said
        assert "backdated" in self.said
        assert set(Collection.objects.values_list("status", flat=True)) == {"complete"}
        lines = {
            (line.service.name, line.setting.metric.system_name): line for line in Line.objects.filter(kind="usage")
        }
        assert lines["brandt_crm", "tables"].quantity == 25
        assert lines["brandt_crm", "tables"].detail == "25 tables: 9 at €1.90, 10 at €0.95, 6 at €0.48"
        assert lines["lindqvist_media", "files"].quantity == 120
        assert lines["lindqvist_media", "disk_used"].quantity == 18
        assert all(line.quantity > 1 for (_, metric), line in lines.items() if metric == "disk_used")
        assert User.objects.get(email=demo.STAFF).check_password("a password of one's own")

    def test_it_shows_what_becomes_of_services_that_are_not_simply_billed(self):
        assert {(note.service.name, note.kind) for note in RunNote.objects.select_related("service")} == {
            ("kestrel_scans", RunNote.Kind.PARKED),
            ("harbour_reports", RunNote.Kind.HELD),
            ("harbour_staging", RunNote.Kind.HELD),
            ("brandt_moved", RunNote.Kind.DEFERRED),
        }
        assert [each.service.name for each in DraftInvoice.objects.all()] == ["lindqvist_copies"]
        ended = Service.objects.filter(status=Service.Status.TERMINATED)
        assert set(ended.values_list("name", flat=True)) == {"brandt_intranet", "livecam.kaimana.test"}
        for service in ended:
            assert Invoice.objects.of_service(service).filter(kind=Invoice.Kind.TERMINATION).exists()
        notes = Invoice.objects.filter(kind=Invoice.Kind.CREDIT_NOTE)
        assert [note.lines.get().service.name for note in notes.order_by("entry")] == [
            "stream.fernleigh.test",
            "lindqvist_shop",
        ]
        assert all(note.reason for note in notes)
        [waiting] = of_differences(Difference.objects.select_related("service__client"))
        assert (waiting.before, waiting.quantity, str(waiting.amount)) == (412_000, 290_000, "-12.2000")

    def test_people_live_there(self):
        sample = {"lines__service__tenant__server__name__in": demo_plans.METRICS}
        states = Counter(states_of(Invoice.objects.exclude(**sample)))
        assert states["paid"] >= 2
        assert states["overdue"] == 1
        states = Counter(states_of(Invoice.objects.filter(**sample).distinct()))
        assert states["paid"] > 200
        assert (states["overdue"], states["part_paid"]) in {(1, 1), (2, 0)}  # who paid a part may be late with the rest
        assert {role for (role,) in ClientUser.objects.values_list("role")} == set(Role.values)
        assert set(Group.objects.filter(user__isnull=False).values_list("name", flat=True)) >= {"viewer", "billing"}
        assert sorted(Question.objects.values_list("waits_for_staff", flat=True)) == [False, True]
        assert (Alert.objects.count(), Crossing.objects.filter(ended_at=None).count()) == (6, 2)
        assert Payment.objects.exclude(reference="Sample data").count() == 3

    def test_what_was_not_measured_says_that_it_is_sample_data(self):
        assert all(each.reason.startswith("Sample data: ") for each in Correction.objects.all())
        corrected = {(each.tenant_id, each.metric_id, each.start) for each in Correction.objects.all()}
        made_up = Usage.objects.exclude(correction_id=None).values_list("tenant_id", "metric_id", "start")
        assert set(made_up) == corrected
        assert not Usage.objects.filter(correction_id=None, collection_id=None).exists()
        # All others were collected from a server that was asked, or belong to one whose name says it, and to no product
        # whose name does not.
        for server in Server.objects.all():
            says_so = demo_plans.MARK in server.name
            sources = Collection.objects.filter(server=server).values_list("source", flat=True)
            assert set(sources) <= ({Collection.Source.IMPORT} if says_so else {Collection.Source.COLLECTION})
            of_server = Usage.objects.filter(tenant_id__in=server.tenants.values("pk"))
            assert set(of_server.exclude(collection_id=None).values_list("collection_id", flat=True)) <= set(
                Collection.objects.filter(server=server).values_list("pk", flat=True)
            )
            products = Product.objects.filter(services__tenant__server=server).distinct()
            assert all((demo_plans.MARK in product.name) == says_so for product in products)
        assert Usage.objects.filter(tenant_id__in=Tenant.objects.filter(server__name__in=demo_plans.METRICS)).exists()
        the_client_has_a_year_to_look_back_on_and_a_forecast()

    def test_a_repeated_demo_leaves_what_is_there_and_to_people_what_it_left_to_them(self):
        before, due = what_is_there(), Service.objects.due(timezone.localdate()).count()
        assert "0 invoices issued" in run_demo()
        assert what_is_there() == before
        assert Service.objects.due(timezone.localdate()).count() == due == 4
        assert "CreateInvoices" not in jobs.run_due(at=timezone.now(), skip=["SendMessages"])


@pytest.mark.django_db
def test_a_site_that_has_billed_before_gets_no_year_of_sample_data():
    Run.objects.create(on=timezone.localdate(), started_at=timezone.now(), beat_at=timezone.now())
    staff = demo.make_people().staff
    assert demo_months.begin(today=timezone.localdate(), clients={}, by=staff) is None
    assert not Server.objects.filter(name__in=demo_plans.METRICS).exists()


@pytest.mark.django_db
def test_it_makes_no_databases_on_a_server_that_is_not_its_own(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ENGINE", "django.db.backends.postgresql")
    with pytest.raises(CommandError, match="only on the embedded one"):
        run_demo()


@given(st.dates(date(2024, 1, 1), date(2030, 1, 1)))
def test_on_every_day_of_the_year_the_services_renew_today(today):
    anchor, number = demo.backdated(today)
    assert term(anchor, Cycle.MONTHLY, number).start == today
