"""Commands that scripts rely on: what they print, and how they exit."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from catalog.models import Service
from invoicing.models import Invoice
from tests.builders import (
    GB,
    MAILBOXES,
    TRAFFIC,
    Panel,
    Usage,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_tenant,
    at,
    panel,
    priced,
    says,
    tenant_says,
    usage_of,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


def run(*arguments, said=()):
    out = StringIO()
    with panel(said if callable(said) else says(*said)):
        call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def refused(*arguments, said=()):
    with pytest.raises(CommandError) as caught:
        run(*arguments, said=said)
    return caught.value.returncode


def test_collect_usage_asks_every_active_server():
    a_server("one"), a_server("two")
    assert run("collect_usage", said=[tenant_says("alice", disk=1)]).splitlines() == [
        "one: complete, 1 tenants, 1 values, 0 refused",
        "two: complete, 1 tenants, 1 values, 0 refused",
    ]


def test_collect_usage_asks_one_server_or_one_tenant():
    a_server("one"), a_server("two")
    assert run("collect_usage", "--server", "two", said=[tenant_says("a", disk=1)]).startswith("two: complete")
    run("collect_usage", "--server", "two", "--tenant", "a", said=[tenant_says("a", disk=1)])
    assert Panel.asked == [("tenant_usage", "a")]


def test_collect_usage_asks_for_a_month_again():
    server = a_server()

    def october(connection, period):
        if period.days > 1:
            yield tenant_says("alice", traffic=Usage(9 * GB, start=period.start, end=period.end))

    run("collect_usage", "--month", "2026-10", said=october)
    assert usage_of(a_tenant(server), TRAFFIC) == {"2026-10-01": 9 * GB}
    assert len(Panel.asked) == 1 + 31  # the month, and its days for metrics by day


def test_collect_usage_exits_with_1_when_a_server_failed_and_2_for_a_wrong_call():
    a_server("one", provider="not-installed")
    assert refused("collect_usage") == 1
    assert refused("collect_usage", "--server", "nowhere") == 2
    assert refused("collect_usage", "--tenant", "alice") == 2
    a_server("two")
    assert refused("collect_usage", "--server", "two", "--month", "2026-11") == 2


def test_create_invoices_bills_what_is_due_and_says_so():
    a_service(a_product(), a_client(), anchor="2026-10-19")
    assert "1 invoices would be issued for 1 terms: $24.00" in run("create_invoices", "--dry-run")
    assert not Invoice.objects.exists()
    assert run("create_invoices") == "1 invoices issued for 1 terms: $24.00\n"
    assert run("create_invoices") == "0 invoices issued for 0 terms: nothing\n"


def test_create_invoices_bills_one_service_and_another_day():
    one = a_service(a_product(), a_client("One"), anchor="2026-10-19", name="one")
    a_service(a_product(), a_client("Two"), anchor="2026-10-19", name="two")
    run("create_invoices", "--service", str(one.public_id), "--on", "2026-12-19")
    assert set(Invoice.objects.values_list("client__name", flat=True)) == {"One"}
    assert Invoice.objects.count() == 2


def test_create_invoices_exits_with_1_when_a_service_was_parked_and_2_for_a_wrong_call():
    a_service(a_product(), a_client("Euro", "EUR"), anchor="2026-10-19")
    assert refused("create_invoices") == 1
    assert refused("create_invoices", "--service", "4711") == 2
    assert refused("create_invoices", "--service", "nonsense") == 2


def test_terminate_service_makes_the_final_invoice_once():
    server, product = a_server(), a_product()
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    service = a_service(product, tenant=a_tenant(server), next_term=2)
    said = [tenant_says("alice", mailboxes=4)]
    first = run("terminate_service", str(service.pk), said=said)
    assert first == "alice is terminated; its last invoice is 2026-00001, $4.00.\n"
    assert run("terminate_service", str(service.public_id), said=said) == first
    assert Service.objects.get().status == "terminated"


def test_terminate_service_exits_with_1_when_it_cannot_and_2_for_a_wrong_call():
    assert refused("terminate_service", str(a_service(status="pending").pk)) == 1
    assert refused("terminate_service", "4711") == 2
