"""Credit notes and corrections on the pages of invoices, for the client and for staff."""

import re
from datetime import date
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from invoicing import corrections, credits
from invoicing.billing import create_invoices
from invoicing.models import Invoice, Line
from metering.correcting import correct
from tests.builders import (
    GB,
    TRAFFIC,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    a_user,
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)
from tests.invoicing.documents import fee, given_back, issued, usage
from tests.invoicing.pages import unfolded

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def sara():
    return a_user("sara@client.test")


@pytest.fixture
def ines():
    return a_staff_user("ines@staff.test")


@pytest.fixture
def service(sara):
    return a_service(a_product(), a_client(users=(sara,)), a_tenant(a_server()))


@pytest.fixture
def invoice(service):
    """$40.00 for a fee."""
    return issued(service.client, fee(service, "40"))


def credit(invoice, amount, reason="Four days of outage", **values):
    return issued(invoice.client, given_back(invoice.lines.first(), amount), credits=invoice, reason=reason, **values)


def page(client, user, where):
    client.force_login(user)
    return unfolded(client, where)


BOTH = pytest.mark.parametrize("area", ["portal", "staff"])


def of(area, sara, ines):
    return ines if area == "staff" else sara


@BOTH
def test_a_credit_note_is_called_one_and_names_its_invoice_and_reason(client, sara, ines, invoice, area):
    note = credit(invoice, "12")
    shown = page(client, of(area, sara, ines), reverse(f"{area}_invoice", args=[note.pk]))
    assert "Credit note C2026-00001 </h1>" in shown
    assert "Invoice C2026" not in shown
    assert "Four days of outage" in shown
    assert reverse(f"{area}_invoice", args=[invoice.pk]) in shown
    assert "Given back" in shown
    assert "−$12.00" in shown
    assert "To pay" not in shown
    assert ", due" not in shown


@BOTH
def test_an_invoice_shows_its_credit_notes_and_how_much_is_credited(client, sara, ines, invoice, area):
    note = credit(invoice, "12")
    shown = page(client, of(area, sara, ines), reverse(f"{area}_invoice", args=[invoice.pk]))
    assert "$12.00 of $40.00 credited" in shown
    assert reverse(f"{area}_invoice", args=[note.pk]) in shown
    assert "Four days of outage" in shown
    assert "−$12.00" in shown
    assert "$28.00" in shown  # left to pay
    credit(invoice, "28", when="2026-11-02 07:00")
    shown = page(client, of(area, sara, ines), reverse(f"{area}_invoice", args=[invoice.pk]))
    assert shown.partition('<div class="tp-doc">')[0].lower().count("credited in full") == 1
    assert "$0.00" in shown


@BOTH
def test_an_invoice_without_credit_notes_says_nothing_of_them(client, sara, ines, invoice, area):
    shown = page(client, of(area, sara, ines), reverse(f"{area}_invoice", args=[invoice.pk]))
    assert "credited" not in shown
    assert "Left to pay" not in shown


@BOTH
def test_lists_call_credit_notes_by_their_name_with_a_minus(client, sara, ines, invoice, area):
    credit(invoice, "12")
    shown = page(client, of(area, sara, ines), reverse(f"{area}_invoices"))
    assert "Credit note" in shown
    assert "for 2026-00001" in shown
    assert "−$12.00" in shown
    assert "$12.00 of $40.00 credited" in shown


def test_the_overview_shows_what_was_given_back_with_a_minus(client, sara, invoice):
    credit(invoice, "12")
    shown = page(client, sara, reverse("home"))
    assert "−$12.00" in shown
    assert re.search(r'Credit note</span>.*−\$12\.00 <br> <span class="tp-sub">1 Nov 2026<', shown)


def test_staff_find_a_services_credit_notes_on_its_page(client, ines, service, invoice):
    note = credit(invoice, "12")
    shown = page(client, ines, reverse("staff_service", args=[service.public_id]))
    assert note.number in shown
    assert invoice.number in shown


@BOTH
def test_a_credit_line_leads_to_the_line_that_it_gives_back_and_that_one_to_it(client, sara, ines, invoice, area):
    note, user = credit(invoice, "12"), of(area, sara, ines)
    charged, back = (reverse(f"{area}_line", args=[one.pk, one.lines.get().pk]) for one in (invoice, note))
    shown = page(client, user, back)
    assert charged in shown
    assert "<dt> Given back </dt>" in shown
    assert "Four days of outage" in shown
    assert back in page(client, user, charged)
    assert "Given back on 1 November 2026:" in page(client, user, reverse(f"{area}_invoice", args=[invoice.pk]))


@pytest.fixture
def billed(service):
    """13 GB of October at $1.00."""
    setting = a_setting(service.product, TRAFFIC)
    return issued(service.client, usage(service, setting, ("2026-10-01", "13"), title="Bandwidth, October 2026"))


def correction(billed, quantity, amount, kind=Line.Kind.ADJUSTMENT, **values):
    line = billed.lines.get()
    return usage(
        line.service,
        line.setting,
        ("2026-10-01", quantity),
        **{
            "kind": kind,
            "title": "Bandwidth, October 2026, corrected",
            "corrects": line,
            "before": line.quantity,
            "settled": line.amount,
            "amount": Decimal(amount),
            "revision": 1,
            **values,
        },
    )


@BOTH
def test_an_adjustment_says_both_quantities_what_was_charged_and_the_difference(
    client, sara, ines, service, billed, area
):
    later = issued(
        service.client, fee(service), correction(billed, "20.5", "7.5"), when="2026-11-15 07:00", kind="settlement"
    )
    user, adjustment = of(area, sara, ines), later.lines.get(position=2)
    charged = reverse(f"{area}_line", args=[billed.pk, billed.lines.get().pk])
    for where in (
        reverse(f"{area}_invoice", args=[later.pk]),
        reverse(f"{area}_line", args=[later.pk, adjustment.pk]),
    ):
        shown = page(client, user, where)
        assert "<dt>Quantity as it was</dt> <dd> 13 GB </dd>" in shown
        assert "<dt>Quantity as it is now</dt> <dd> 20.5 GB </dd>" in shown
        assert "<dt>What it costs now, all of it</dt> <dd> $20.50 </dd>" in shown
        assert "<dt>What was charged for it before</dt> <dd> $13.00 </dd>" in shown
        assert "<dt>Difference</dt> <dd> +$7.50 </dd>" in shown
        assert "Of that on this line" not in shown
        assert charged in shown
    assert "+$7.50" in page(client, user, charged)
    assert reverse(f"{area}_line", args=[later.pk, adjustment.pk]) in page(client, user, charged)


def test_a_credit_for_usage_is_explained_like_an_adjustment(client, sara, service, billed):
    back = correction(billed, "9", "4", kind=Line.Kind.CREDIT, credits=billed.lines.get())
    note = issued(service.client, back, credits=billed, reason="The usage was corrected after it had been billed.")
    shown = page(client, sara, reverse("portal_line", args=[note.pk, note.lines.get().pk]))
    assert "<dt>Difference</dt> <dd> −$4.00 </dd>" in shown
    assert "<dt> Given back </dt>" in shown
    assert "was 13 GB" in shown


def test_a_correction_that_gives_back_two_charges_says_what_is_on_which_line(client, sara, service, billed):
    """13 at first, 7 more, then only 4 in all: 16 are given back, 7 of one line and 9 of the other."""
    more = issued(service.client, correction(billed, "20", "7"), when="2026-11-02 07:00")
    common = {"kind": Line.Kind.CREDIT, "before": Decimal(20)}
    first = correction(billed, "4", "7", settled=Decimal(20), credits=more.lines.get(), **common)
    first.periods = []  # they stand on the last one
    second = correction(
        billed,
        "4",
        "9",
        settled=Decimal(13),
        credits=billed.lines.get(),
        **common,
    )
    for period in second.periods:
        period.revision = 2
    one = issued(service.client, first, credits=more, reason="corrected", when="2026-11-03 07:00")
    two = issued(service.client, second, credits=billed, reason="corrected", when="2026-11-03 07:00")
    shown = page(client, sara, reverse("portal_line", args=[one.pk, one.lines.get().pk]))
    assert "<dt>Difference</dt> <dd> −$16.00 </dd>" in shown
    assert "<dt>Of that on this line</dt> <dd> −$7.00 </dd>" in shown
    assert reverse("portal_line", args=[two.pk, two.lines.get().pk]) in shown
    shown = page(client, sara, reverse("portal_invoice", args=[one.pk]))
    assert "The usage periods are listed with the other line of this correction." in shown
    charged = page(client, sara, reverse("portal_line", args=[billed.pk, billed.lines.get().pk]))
    assert all(reverse("portal_line", args=[each.pk, each.lines.get().pk]) in charged for each in (more, one, two))


def test_what_voids_a_correction_leads_to_that_and_not_to_the_line_that_it_corrected(client, sara, service, billed):
    more = issued(service.client, correction(billed, "20", "7"), when="2026-11-02 07:00")
    void = given_back(more.lines.get(), "7")
    void.line.corrects = billed.lines.get()
    note = issued(service.client, void, credits=more, reason="void", when="2026-11-03 07:00")
    first, adjustment, back = (
        reverse("portal_line", args=[one.pk, one.lines.get().pk]) for one in (billed, more, note)
    )
    shown = page(client, sara, back)
    assert "Gives back" in shown
    assert adjustment in shown
    assert first not in shown
    assert back in page(client, sara, adjustment)
    assert back not in page(client, sara, first)


def test_a_correction_by_staff_leads_to_a_credit_note_that_is_explained(client, sara, ines, service, time_machine):
    setting = a_setting(service.product, TRAFFIC)
    priced(setting, ("0", "1"), notation="above", included="10")
    for when, used in (("2026-10-31 18:00", 13), ("2026-11-01 06:00", 0)):
        collected(service.tenant.server, when, tenant_says("alice", traffic=used * GB))
    with panel(says()):
        create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 07:00"))
    correct(
        tenant=service.tenant,
        metric=setting.metric,
        start=date(2026, 10, 1),
        value=9 * GB,
        reason="our own backup",
        by=ines,
        at=at("2026-11-05 07:00"),
    )
    corrections.settle(service=service, on=date(2026, 11, 6), at=at("2026-11-06 07:00"))
    note = Invoice.objects.get(kind=Invoice.Kind.CREDIT_NOTE)
    line = note.lines.get()
    shown = page(client, sara, reverse("portal_line", args=[note.pk, line.pk]))
    assert "<dt>Quantity as it was</dt> <dd> 13 GB </dd>" in shown
    assert "<dt>Quantity as it is now</dt> <dd> 9 GB </dd>" in shown
    assert "<dt>Difference</dt> <dd> −$3.00 </dd>" in shown
    assert "our own backup" in shown
    assert "31 Oct, 18:00" in shown  # the reading stays
    assert reverse("portal_line", args=[line.corrects.invoice_id, line.corrects_id]) in shown


def test_a_settlement_and_a_replacement_say_what_they_are_and_why(client, sara, service):
    for kind, words in (
        ("settlement", "Settlement of corrected usage"),
        ("replacement", "Replacement of a voided invoice"),
    ):
        one = issued(service.client, fee(service), kind=kind, reason="The address was wrong.")
        shown = page(client, sara, reverse("portal_invoice", args=[one.pk]))
        assert words in shown
        assert "The address was wrong." in shown


def test_a_client_does_not_see_what_belongs_to_another(client, sara, ines, service, invoice):
    """A service may have changed hands: what was charged to one client can be given back to another."""
    eve = a_user("eve@other.test")
    note = issued(
        a_client("Other", users=(eve,)), given_back(invoice.lines.get(), "12"), credits=invoice, reason="moved"
    )
    for user, one, hidden in ((sara, invoice, note), (eve, note, invoice)):
        line = one.lines.get().pk
        for where in (
            reverse("portal_invoice", args=[one.pk]),
            reverse("portal_line", args=[one.pk, line]),
        ):
            shown = page(client, user, where)
            assert str(hidden.pk) not in shown
            assert f'"{hidden.number}"' not in shown
    assert str(note.pk) in page(client, ines, reverse("staff_invoice", args=[invoice.pk]))


@BOTH
def test_a_voided_invoice_and_the_one_that_replaces_it_lead_to_each_other(client, sara, ines, area):
    """Also when two were voided in one moment, and to no other."""
    own, product, now = a_client("Harbour", users=(sara,)), a_product("VPS", provider=""), at("2026-11-19 09:00")
    for number in range(1, 4):
        a_service(product, own, name=f"shop {number}", anchor=f"2026-10-0{number}", next_term=1)
        create_invoices(on=date(2026, 11, number), at=at(f"2026-11-0{number} 07:00"))
    first, second, credited = Invoice.objects.order_by("entry")
    given = {credited.lines.get().pk: credited.total}
    credits.credit(invoice=credited, amounts=given, reason="Gift", on=now.date(), at=now)
    replacements = [
        credits.void(invoice=each, reason="Wrong address", on=now.date(), at=now).replacement
        for each in (first, second)
    ]
    address = {one: reverse(f"{area}_invoice", args=[one.pk]) for one in [first, second, credited, *replacements]}
    user = of(area, sara, ines)
    for voided, replacement, other in [(first, *replacements), (second, *reversed(replacements))]:
        shown = page(client, user, address[voided])
        assert f'Invoice <a href="{address[replacement]}">{replacement.number}</a>' in shown
        assert address[other] not in shown
        shown = page(client, user, address[replacement])
        assert f'Invoice <a href="{address[voided]}">{voided.number}</a>' in shown
        assert all(address[each] not in shown for each in (first, second, credited) if each != voided)
    assert "Replaced by" not in page(client, user, address[credited])


@BOTH
def test_pages_take_the_same_number_of_queries_for_more_credit_notes_and_corrections(
    client, sara, ines, service, billed, area
):
    user = of(area, sara, ines)
    client.force_login(user)
    places = [
        reverse(f"{area}_invoices"),
        reverse(f"{area}_invoice", args=[billed.pk]),
        reverse(f"{area}_line", args=[billed.pk, billed.lines.get().pk]),
    ]
    if area == "portal":
        places.append(reverse("home"))
    credit(billed, "1")
    counts = [queries(client, places) and queries(client, places)]
    for number in range(2, 7):
        credit(billed, "1", when=f"2026-11-0{number} 07:00")
        adjusted = correction(billed, "14", "1", revision=number)
        issued(service.client, adjusted, when=f"2026-11-0{number} 07:00")
    counts.append(queries(client, places))
    assert counts[0] == counts[1]
    assert Invoice.objects.count() == 12


def queries(client, places):
    counts = []
    for where in places:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(where).status_code == 200
        counts.append(len(captured))
    return counts
