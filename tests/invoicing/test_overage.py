"""Space and traffic above soft limits: charged once for each month, on its last day, and not a byte is lost."""

import re
from datetime import date
from decimal import Decimal

import pytest
from django.urls import reverse

from billing_site import jobs
from catalog import overage as terms_of
from catalog.models import Client, OverageTerms
from invoicing import credits
from invoicing.billing import create_invoices
from invoicing.changing import reactivate
from invoicing.models import Invoice, Line, OverageCharge
from invoicing.overage_billing import charge_overage
from invoicing.termination import terminate
from invoicing.verification import verify
from metering.models import Server
from tests.builders import a_client, a_product, a_server, a_service, a_staff_user, a_tenant, a_user, at
from tests.catalog.test_usage_update import host, polled, used

pytestmark = pytest.mark.django_db
GIB = Decimal(2**30) / 10**9


def above(product, *, disk="10", traffic="100", own=False, month="2026-11-01", **prices):
    """Charge $0.50 a GiB of space above the limit, and $0.10 a GiB of traffic."""
    prices = prices or {"USD": (Decimal("0.5"), Decimal("0.1"))}
    return terms_of.add_terms(
        product=product,
        sheet=terms_of.Sheet(
            True,
            "GiB",
            Decimal(disk) if disk else None,
            Decimal(traffic) if traffic else None,
            has_own_invoice=own,
            prices=prices,
        ),
        effective_from=date.fromisoformat(month),
        at=at("2026-10-20 12:00"),
        by=None,
        after=max((each.number for each in OverageTerms.objects.filter(product=product)), default=0),
    )


@pytest.fixture
def service():
    return a_service(tenant=a_tenant(a_server()), name="shop", next_term=2)


def says(when, disk, traffic):
    """A poll of the server; in GiB."""
    return polled(Server.objects.get(), when, used(Decimal(str(disk)) * GIB, Decimal(traffic) * GIB))


def charge(on, when="20:00"):
    with host():
        return charge_overage(on=date.fromisoformat(on), at=at(f"{on} {when}"))


def lines():
    rows = Line.objects.filter(kind="overage").order_by("invoice__entry", "position")
    return [(line.title, line.detail, str(line.amount)) for line in rows]


def is_sound():
    return [str(finding) for finding in verify()] == []


def test_an_invoice_of_its_own_is_made_on_the_last_day_of_the_month(service):
    above(service.product, own=True)
    says("2026-11-30 06:00", 12.5, 130)
    assert charge("2026-11-29").charges == 0
    assert charge("2026-11-30").documents == 1
    [invoice] = Invoice.objects.all()
    assert (invoice.kind, invoice.issued_on, invoice.total) == ("overage", date(2026, 11, 30), Decimal("4.25"))
    assert lines() == [
        ("Disk space above 10 GiB, November 2026", "shop: 12.5 GiB: 10 included, 2.5 at $0.50", "1.2500"),
        ("Traffic above 100 GiB, November 2026", "shop: 130 GiB: 100 included, 30 at $0.10", "3.0000"),
    ]
    assert is_sound()


def test_a_month_is_charged_later_if_the_client_lacks_what_invoices_must_state(service, settings):
    settings.REQUIRED_ON_INVOICES = ["buyer_address"]
    above(service.product, own=True)
    says("2026-11-30 06:00", 12.5, 130)
    assert charge("2026-11-30").charges == 0
    service.client.address = "Wharf Street"
    service.client.save()
    assert charge("2026-12-01").documents == 1
    assert is_sound()


def test_a_month_is_charged_once_however_often_it_is_tried(service):
    above(service.product, own=True)
    says("2026-11-30 06:00", 12.5, 130)
    for on in ("2026-11-30", "2026-11-30", "2026-12-01", "2026-12-05", "2026-12-31"):
        charge(on)
    assert len(lines()) == 2


def test_otherwise_it_is_the_last_line_of_the_next_invoice(service):
    above(service.product)
    says("2026-11-30 06:00", 12.5, 130)
    assert charge("2026-11-30").charges == 2
    assert not Invoice.objects.exists()
    says("2026-12-01 05:00", 12.5, 0)
    with host():
        create_invoices(on=date(2026, 12, 1), at=at("2026-12-01 06:00"))
        create_invoices(on=date(2026, 12, 2), at=at("2026-12-02 06:00"))
    [invoice] = Invoice.objects.all()
    assert [line.kind for line in invoice.lines.order_by("position")] == ["recurring", "overage", "overage"]
    assert is_sound()


def test_what_is_used_after_the_charge_is_charged_when_the_month_is_closed(service):
    above(service.product, own=True)
    says("2026-11-30 06:00", 12, 130)
    charge("2026-11-30")
    Server.objects.update(collected_at=at("2026-11-30 06:00"))
    says("2026-11-30 23:50", 12, 142)
    assert charge("2026-12-02").charges == 0
    assert charge("2026-12-03").charges == 1
    assert lines()[-1] == (
        "Traffic above 100 GiB, November 2026, the rest",
        "shop: 142 GiB: 100 included, 42 at $0.10; $3.00 of it were charged on the last day of the month",
        "1.2000",
    )
    charge("2026-12-04")
    assert len(lines()) == 3
    assert is_sound()


@pytest.mark.parametrize("own", [True, False])
def test_what_was_too_much_is_given_back(service, own):
    above(service.product, own=own)
    says("2026-11-30 06:00", 12, 130)
    charge("2026-11-30")
    says("2026-11-30 23:00", 11, 130)
    charge("2026-12-03")
    if own:
        note = Invoice.objects.get(kind="credit_note")
        assert (note.total, note.credits.kind) == (Decimal("0.5"), "overage")
    else:
        assert [str(each.amount) for each in OverageCharge.objects.waiting().order_by("name")] == ["3.0000", "0.5000"]
    assert is_sound()


BOTH = {"USD": (Decimal("0.5"), Decimal("0.1")), "EUR": (Decimal("0.4"), Decimal("0.2"))}


@pytest.mark.parametrize("own", [True, False])
def test_a_month_is_settled_in_the_currency_in_which_it_was_charged(service, own):
    above(service.product, own=own, **BOTH)
    says("2026-11-30 06:00", 12, 130)
    charge("2026-11-30")
    Client.objects.update(currency="EUR")
    says("2026-11-30 23:00", 12, 130)
    charge("2026-12-03")
    rests = OverageCharge.objects.filter(part=1).order_by("name")
    assert [(each.currency, each.before, each.amount) for each in rests] == [("USD", 3, 0), ("USD", 1, 0)]
    assert Invoice.objects.count() == (1 if own else 0)
    assert is_sound()


def test_what_was_too_much_is_given_back_in_the_currency_in_which_it_was_charged(service):
    above(service.product, own=True, **BOTH)
    says("2026-11-30 06:00", 12, 130)
    charge("2026-11-30")
    Client.objects.update(currency="EUR")
    says("2026-11-30 23:00", 11, 130)
    charge("2026-12-03")
    note = Invoice.objects.get(kind="credit_note")
    assert (note.total, note.currency) == (Decimal("0.5"), "USD")
    assert is_sound()


def test_the_rest_of_a_month_waits_until_the_currency_of_its_first_charge_is_back(service):
    a_product(currency="EUR")
    above(service.product, own=True, **BOTH)
    says("2026-11-30 06:00", 12, 130)
    charge("2026-11-30")
    Client.objects.update(currency="EUR")
    says("2026-11-30 23:00", 14, 130)
    charge("2026-12-03")
    with host():
        create_invoices(on=date(2026, 12, 3), at=at("2026-12-03 21:00"))
    assert len(lines()) == 2
    Client.objects.update(currency="USD")
    with host():
        create_invoices(on=date(2027, 1, 1), at=at("2027-01-01 06:00"))
    assert lines()[2:] == [
        (
            "Disk space above 10 GiB, November 2026, the rest",
            "shop: 14 GiB: 10 included, 4 at $0.50; $1.00 of it were charged on the last day of the month",
            "1.0000",
        )
    ]
    assert is_sound()


def test_within_the_limit_nothing_is_charged_and_a_limit_of_zero_charges_all(service):
    above(service.product, disk="0", own=True)
    says("2026-11-30 06:00", 2, 100)
    charge("2026-11-30")
    assert [amount for _, _, amount in lines()] == ["1.0000"]
    assert OverageCharge.objects.filter(amount=0).count() == 1


def test_months_that_were_missed_are_made_up_for_at_the_terms_of_their_time(service):
    above(service.product, month="2026-09-01", traffic="")
    above(service.product, month="2026-11-01", traffic="", own=True, USD=(Decimal(1), None))
    for when, disk in (("2026-09-30", 11), ("2026-10-31", 12), ("2026-11-30", 13)):
        says(f"{when} 06:00", disk, 0)
    service.anchor = date(2026, 9, 15)
    service.save()
    charge("2026-12-01")
    charges = OverageCharge.objects.order_by("month").values_list("month", "amount")
    assert [(f"{month:%Y-%m}", str(amount)) for month, amount in charges.filter(part=0)] == [
        ("2026-09", "0.5000"),
        ("2026-10", "1.0000"),
        ("2026-11", "3.0000"),
    ]


def test_months_before_the_terms_and_those_in_which_it_was_off_are_not_charged(service):
    product = service.product
    above(product, month="2026-10-01", own=True)
    off = terms_of.Sheet(False, "GiB", None, None, has_own_invoice=True)
    terms_of.add_terms(
        product=product, sheet=off, effective_from=date(2026, 11, 1), at=at("2026-10-20 12:00"), by=None, after=1
    )
    for when in ("2026-09-30 06:00", "2026-10-31 06:00", "2026-11-30 06:00"):
        says(when, 12, 0)
    charge("2026-11-30")
    assert [title for title, _, _ in lines()] == ["Disk space above 10 GiB, October 2026"]


def test_what_was_not_measured_in_a_month_is_not_charged_until_it_is(service):
    above(service.product, own=True)
    assert charge("2026-11-30").charges == 0
    says("2026-11-30 23:00", 12, 0)
    assert charge("2026-12-01").charges == 1


def test_a_currency_without_a_price_is_said_and_charged_once_it_has_one():
    service = a_service(
        client=a_client("Kaffehaus", "EUR"), product=a_product(currency="EUR"), tenant=a_tenant(a_server())
    )
    above(service.product, own=True)
    says("2026-11-30 06:00", 12, 0)
    outcome = charge("2026-11-30")
    assert outcome.unpriced == {service.pk}
    assert "1 services have no price in their currency" in str(outcome)
    assert not OverageCharge.objects.exists()
    above(service.product, own=True, EUR=(Decimal("0.45"), Decimal("0.1")))
    charge("2026-12-01")
    assert [amount for _, _, amount in lines()] == ["0.9000"]


def test_a_service_that_ended_is_charged_for_its_last_month_unless_another_has_its_tenant(service):
    above(service.product, own=True)
    says("2026-11-14 06:00", 12, 130)
    with host(used(12 * GIB, 130 * GIB)):
        terminate(service=service, on=date(2026, 11, 15), at=at("2026-11-15 12:00"))
    says("2026-11-30 06:00", 40, 500)
    charge("2026-11-30")
    assert [amount for _, _, amount in lines()] == ["1.0000", "40.0000"]


def test_a_tenant_that_goes_on_is_charged_once(service):
    above(service.product, own=True)
    says("2026-11-14 06:00", 12, 130)
    with host(used(12 * GIB, 130 * GIB)):
        terminate(service=service, on=date(2026, 11, 15), at=at("2026-11-15 12:00"))
    a_service(service.product, service.client, service.tenant, anchor="2026-11-15", next_term=0)
    says("2026-11-30 06:00", 12, 130)
    charge("2026-11-30")
    assert len(lines()) == 2


def test_what_waits_is_on_the_last_invoice_of_a_service_that_ends(service):
    above(service.product)
    says("2026-11-30 06:00", 12, 130)
    charge("2026-11-30")
    with host(used(12 * GIB, 130 * GIB)):
        terminate(service=service, on=date(2026, 11, 30), at=at("2026-11-30 22:00"))
    assert Invoice.objects.get(kind="termination").total == Decimal("4.0000")
    reactivate(service=service, at=at("2026-12-01 12:00"))
    with host():
        create_invoices(on=date(2026, 12, 1), at=at("2026-12-01 13:00"))
    assert len(lines()) == 2
    assert is_sound()


def test_services_of_a_client_share_an_invoice(service):
    above(service.product, own=True)
    a_service(service.product, service.client, a_tenant(service.tenant.server, "bob"), name="blog")
    polled(Server.objects.get(), "2026-11-30 06:00", used(12 * GIB, 0), used(13 * GIB, 0, "bob"))
    charge("2026-11-30")
    assert [invoice.lines.count() for invoice in Invoice.objects.all()] == [2]


def test_voiding_an_overage_invoice_charges_it_again_as_it_was(service):
    above(service.product, own=True)
    says("2026-11-30 06:00", 12, 0)
    charge("2026-11-30")
    invoice = Invoice.objects.get()
    voided = credits.void(invoice=invoice, reason="Wrong address.", on=date(2026, 12, 1), at=at("2026-12-01 12:00"))
    assert voided.replacement.total == invoice.total
    assert is_sound()


@pytest.mark.parametrize("times", [1, 2])
def test_what_was_too_much_is_given_back_of_the_invoice_that_replaced_a_voided_one(service, times):
    above(service.product, own=True)
    says("2026-11-30 06:00", 12, 130)
    charge("2026-11-30")
    invoice = Invoice.objects.get()
    for _ in range(times):
        invoice = credits.void(
            invoice=invoice, reason="Wrong address.", on=date(2026, 12, 1), at=at("2026-12-01 12:00")
        ).replacement
    says("2026-11-30 23:00", 11, 130)
    charge("2026-12-03")
    [note] = invoice.credit_notes.all()
    assert (note.total, note.lines.get().credits.title) == (Decimal("0.5"), "Disk space above 10 GiB, November 2026")
    assert is_sound()


def test_the_job_runs_before_invoices_are_made(service):
    above(service.product)
    says("2026-11-30 06:00", 12, 0)
    assert list(jobs.TASKS).index("OverageBilling") < list(jobs.TASKS).index("CreateInvoices")
    with host(used(12 * GIB, 0)):
        said = jobs.run_named(["OverageBilling"], at=at("2026-11-30 20:00"))
    assert said == {"OverageBilling": "1 charges, 0 documents"}


def test_verification_finds_an_overage_line_that_is_not_what_its_terms_say(service):
    above(service.product, own=True)
    says("2026-11-30 06:00", 12, 0)
    charge("2026-11-30")
    OverageCharge.objects.filter(name="disk_used").update(value=0)
    assert any("above the limit" in str(finding) for finding in verify())


def test_the_client_follows_an_overage_line_to_its_steps(service, client):
    sara = a_user()
    service.client.users.add(sara)
    above(service.product, own=True)
    says("2026-11-30 06:00", 12.5, 0)
    charge("2026-11-30")
    line = Line.objects.get(kind="overage")
    for user, area in ((sara, "portal"), (a_staff_user(), "staff")):
        client.force_login(user)
        with host():
            invoice = client.get(reverse(f"{area}_invoice", args=[line.invoice_id]))
            shown = client.get(reverse(f"{area}_line", args=[line.invoice_id, line.pk]))
        assert (invoice.status_code, shown.status_code) == (200, 200)
        assert "Disk space above 10 GiB, November 2026" in invoice.content.decode()
        words = " ".join(re.sub(r"<[^>]+>", " ", shown.content.decode()).split())
        assert "2.5 $0.50 $1.25" in words
