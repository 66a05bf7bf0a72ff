"""The staff pages of what counts for each period: what they show, and how a value is corrected there."""

from datetime import date, timedelta
from typing import Any

import psycopg
import pytest
import time_machine
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from metering import correcting, server_lock
from metering.models import Collection, Correction
from tests.builders import (
    DISK,
    EMAILS,
    GB,
    MAILBOXES,
    ROWS,
    TRAFFIC,
    a_client,
    a_metric,
    a_product,
    a_server,
    a_service,
    a_staff_user,
    a_tenant,
    a_user,
    at,
    collected,
    panel,
    tenant_says,
    usage_of,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def noon():
    """It is noon on 19 November 2026."""
    with time_machine.travel(at("2026-11-19 12:00"), tick=False):
        yield


@pytest.fixture
def staff(client):
    client.force_login(a_staff_user())
    with panel():
        yield client


def a_collected_tenant():
    server = a_server()
    collected(server, "2026-10-31 18:00", tenant_says("alice", traffic=10 * GB))
    collected(server, "2026-11-17 18:00", tenant_says("alice", disk=5 * GB, emails=25, mailboxes=3, rows=100))
    collected(server, "2026-11-18 18:00", tenant_says("alice", disk=5 * GB, emails=30, mailboxes=4, rows=130))
    return a_tenant(server)


def address(tenant, declared=EMAILS, start: str = "") -> str:
    args = [tenant.pk, a_metric(declared).pk]
    if start:
        return reverse("staff_usage_period", args=[*args, date.fromisoformat(start)])
    return reverse("staff_usage", args=args)


def text_of(response) -> str:
    """The page in one line, so that the way its template is wrapped does not matter."""
    return " ".join(response.content.decode().split())


def page(client, where: str, **query: Any) -> str:
    response = client.get(where, query, follow=True)
    assert response.status_code == 200
    return text_of(response)


def typed(client, where: str, quantity: str = "12", reason: str = "counted twice") -> str:
    response = client.post(where, {"quantity": quantity, "reason": reason}, follow=True)
    assert response.status_code == 200
    return text_of(response)


# ---- who may see and do it


def with_rights(client, *names: str):
    user = a_user("sam@staff.test")
    user.is_staff = True
    user.save()
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(user)
    return client


def test_nobody_is_sent_to_the_login_and_a_client_is_refused(client):
    tenant = a_collected_tenant()
    for where in (address(tenant), address(tenant, start="2026-11-18")):
        assert client.get(where).url.startswith("/account/login/")
    client.force_login(a_user())
    for where in (address(tenant), address(tenant, start="2026-11-18")):
        assert client.get(where).status_code == 403
        assert client.post(where, {"quantity": "1", "reason": "mine"}).status_code in (403, 405)
    assert not Correction.objects.exists()


def test_who_may_only_look_sees_no_form_and_cannot_send_one(client):
    tenant = a_collected_tenant()
    where = address(tenant, start="2026-11-18")
    looking = with_rights(client, "view_tenant")
    assert "Correct this value" not in page(looking, where)
    assert looking.post(where, {"quantity": "1", "reason": "why"}).status_code == 403
    assert not Correction.objects.exists()


def test_who_may_correct_needs_to_see_tenants_too(client):
    tenant = a_collected_tenant()
    assert with_rights(client, "add_correction").get(address(tenant)).status_code == 403


# ---- what counts


def test_periods_are_listed_newest_first_in_the_unit_of_the_metric(staff):
    shown = page(staff, address(a_collected_tenant(), DISK))
    assert shown.index("18 November 2026") < shown.index("17 November 2026")
    assert "5 GB" in shown


def test_what_is_not_over_counts_so_far(staff):
    tenant = a_collected_tenant()
    assert "so far" not in page(staff, address(tenant))
    collected(tenant.server, "2026-11-19 06:00", tenant_says("alice", emails=2))
    assert '2 emails<span class="tp-sub">so far</span>' in page(staff, address(tenant))
    assert "What counts: <b>2 emails</b> so far." in page(staff, address(tenant, start="2026-11-19"))


def test_months_are_listed_by_their_name(staff):
    shown = page(staff, address(a_collected_tenant(), TRAFFIC))
    assert "October 2026</a>" in shown
    assert "10 GB" in shown


def test_what_was_never_collected_is_said_in_words(staff):
    server = a_server()
    assert "Nothing was collected of it yet." in page(staff, address(a_tenant(server)))


def test_a_long_list_has_pages(staff):
    server = a_server()
    for back in range(60):
        collected(server, f"{date(2026, 11, 18) - timedelta(days=back)} 06:00", tenant_says("alice", emails=back))
    tenant = a_tenant(server)
    assert "20 September 2026" not in page(staff, address(tenant))
    assert "20 September 2026" in page(staff, address(tenant), page=2)
    assert "Page 2 of 2" in page(staff, address(tenant), page=2)


def test_the_list_takes_the_same_number_of_queries_for_any_number_of_corrections(staff):
    tenant = a_collected_tenant()
    page(staff, address(tenant))
    counts = []
    for start in ("2026-11-18", "2026-11-17", "2026-11-16"):
        typed(staff, address(tenant, start=start))
        with CaptureQueriesContext(connection) as captured:
            page(staff, address(tenant))
        counts.append(len(captured))
    assert len(set(counts)) == 1


@pytest.mark.parametrize(
    ("declared", "chosen", "start"), [(EMAILS, "2026-10-07", "2026-10-07"), (TRAFFIC, "2026-08", "2026-08-01")]
)
def test_a_period_without_a_value_can_be_opened_by_its_date(staff, declared, chosen, start):
    tenant = a_collected_tenant()
    answer = staff.get(address(tenant, declared), {"period": chosen})
    assert answer.url == address(tenant, declared, start)
    assert "Nothing is known of it, so nothing counts" in page(staff, answer.url)


@pytest.mark.parametrize("chosen", ["", "2026-02-30", "18.11.2026", "1926-11-18", "9999-12-31", "soon", "2026-11"])
def test_a_date_that_is_none_is_refused_where_it_was_typed(staff, chosen):
    answer = staff.get(address(a_collected_tenant()), {"period": chosen})
    assert answer.status_code == 200
    assert "invalid-feedback" in text_of(answer)


@pytest.mark.parametrize("tail", ["2026-02-30/", "2026-11-18x/", "1026-11-18/", "2026-11/"])
def test_an_address_of_no_period_is_not_found(staff, tail):
    assert staff.get(f"{address(a_collected_tenant())}{tail}").status_code == 404


def test_a_month_has_no_page_for_a_day_and_a_metric_of_another_provider_has_none(staff):
    tenant = a_collected_tenant()
    assert staff.get(address(tenant, TRAFFIC, "2026-10-02")).status_code == 404
    other = a_metric(EMAILS, provider="prometheus")
    assert staff.get(reverse("staff_usage", args=[tenant.pk, other.pk])).status_code == 404
    assert staff.get(reverse("staff_usage", args=[10**12, a_metric(EMAILS).pk])).status_code == 404


# ---- one period


def test_a_period_shows_what_counts_and_the_readings_behind_it_before_anything_is_saved(staff):
    tenant = a_collected_tenant()
    shown = page(staff, address(tenant, start="2026-11-18"))
    assert "What counts: <b>30 emails</b>." in shown
    assert f"/admin/collections/{Collection.objects.first().pk}/" in shown
    assert not Correction.objects.exists()


def test_a_level_that_did_not_change_shows_the_reading_before(staff):
    shown = page(staff, address(a_collected_tenant(), DISK, "2026-11-18"))
    assert "17 Nov, 18:00" in shown
    assert "of an earlier day, and unchanged since" in shown


def test_the_correction_of_one_day_is_no_reading_of_the_next(staff):
    tenant = a_collected_tenant()
    typed(staff, address(tenant, DISK, "2026-11-17"), "4", "the disk was shared")
    shown = page(staff, address(tenant, DISK, "2026-11-18"))
    assert "the disk was shared" not in shown
    assert "5 GB" in shown


def test_a_counter_says_that_its_readings_are_counts(staff):
    shown = page(staff, address(a_collected_tenant(), ROWS, "2026-11-18"))
    assert "what counts for a day is how much it rose" in shown
    assert "What counts: <b>30 rows</b>." in shown
    assert "130 rows" in shown


def test_an_open_period_has_no_form_and_says_why(staff):
    tenant = a_collected_tenant()
    shown = page(staff, address(tenant, start="2026-11-19"))
    assert "19 November 2026 is not over in UTC" in shown
    assert 'name="quantity"' not in shown


def test_a_form_for_an_open_period_that_is_sent_all_the_same_is_refused(staff):
    typed(staff, address(a_collected_tenant(), start="2026-11-19"))
    assert not Correction.objects.exists()


# ---- correcting


def test_a_correction_is_saved_and_the_list_says_who_when_and_why_and_what_comes_next(staff):
    tenant = a_collected_tenant()
    shown = typed(staff, address(tenant, start="2026-11-18"), "12", "a <b>loop</b> in a script")
    assert "18 November 2026 counts 12 emails instead of 30 emails." in shown
    assert "If it was billed already, the difference goes on the next invoice or on a credit note." in shown
    assert "today, 12:00 by ines@staff.test: a &lt;b&gt;loop&lt;/b&gt; in a script" in shown
    assert usage_of(tenant, EMAILS)["2026-11-18"] == 12
    made = Correction.objects.get()
    assert (made.by.email, made.before, made.at) == ("ines@staff.test", 30, at("2026-11-19 12:00"))


def test_a_quantity_is_typed_in_the_unit_of_the_metric(staff):
    tenant = a_collected_tenant()
    typed(staff, address(tenant, DISK, "2026-11-17"), "4.25")
    typed(staff, address(tenant, TRAFFIC, "2026-10-01"), "0.000001")
    assert usage_of(tenant, DISK)["2026-11-17"] == 4_250_000_000
    assert usage_of(tenant, TRAFFIC) == {"2026-10-01": 1000}


@pytest.mark.parametrize(
    ("quantity", "why"),
    [
        ("1.234,56", "is not a plain decimal number"),
        ("1,234", "is not a plain decimal number"),
        ("1e3", "is not a plain decimal number"),
        ("-1", "-1 is negative"),
        ("NaN", "is not a plain decimal number"),
        ("4.0000001", "4.0000001 has more than 6 decimal places"),
        ("1000000000", "Must be less than 1,000,000,000 GB."),
        ("", "Enter a quantity."),
        ("٣", "is not a plain decimal number"),
    ],
)
def test_what_is_no_quantity_is_refused_at_its_field_and_kept_as_it_was_typed(staff, quantity, why):
    shown = typed(staff, address(a_collected_tenant(), DISK, "2026-11-17"), quantity)
    assert why in shown
    assert f'value="{quantity}"' in shown or not quantity
    assert 'value="counted twice"' in shown
    assert not Correction.objects.exists()


def test_whole_numbers_only_for_what_is_counted(staff):
    shown = typed(staff, address(a_collected_tenant(), MAILBOXES, "2026-11-17"), "2.5")
    assert "2.5 has more than 0 decimal places. Write it plainly, such as 1234." in shown


def test_a_reason_is_asked_for(staff):
    shown = typed(staff, address(a_collected_tenant(), start="2026-11-18"), reason=" ")
    assert "Say why." in shown
    assert not Correction.objects.exists()


def test_the_quantity_that_counts_already_is_refused_in_words(staff):
    shown = typed(staff, address(a_collected_tenant(), start="2026-11-18"), "30")
    assert "18 November 2026 counts 30 emails already." in shown


def test_pressing_twice_corrects_once(staff):
    tenant = a_collected_tenant()
    typed(staff, address(tenant, start="2026-11-18"))
    assert "counts 12 emails already" in typed(staff, address(tenant, start="2026-11-18"))
    assert Correction.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_server_that_is_being_collected_is_said_to_be_busy_and_nothing_is_lost(staff, monkeypatch):
    tenant = a_collected_tenant()
    monkeypatch.setattr(correcting, "WAIT", "100ms")
    params = connection.get_connection_params()
    with psycopg.connect(host=params["host"], user=params["user"], dbname=params["dbname"]) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s, %s)", [server_lock.LOCK, tenant.server_id])
        shown = typed(staff, address(tenant, start="2026-11-18"))
    assert "A collection of panel-01 is running. Nothing was corrected" in shown
    assert 'value="12"' in shown
    assert not Correction.objects.exists()


def test_the_page_of_a_service_leads_to_it(staff):
    tenant = a_collected_tenant()
    service = a_service(a_product(), a_client(), tenant)
    shown = page(staff, reverse("staff_service", args=[service.public_id]))
    assert f'href="{address(tenant, EMAILS)}"> Correct a value' in shown
