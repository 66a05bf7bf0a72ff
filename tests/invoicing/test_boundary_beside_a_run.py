"""A service ends or is changed while somebody else has it locked: no term that began is skipped."""

import threading
import time
from datetime import date

import pytest
from django.db import connection, transaction

from catalog.models import Service
from invoicing.boundary import CannotClose
from invoicing.changing import change
from invoicing.models import Invoice, Line, Run
from invoicing.termination import terminate
from tests.builders import (
    EMAILS,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_tenant,
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def service():
    """The term of November is due, and not billed yet."""
    server = a_server()
    setting = a_setting(a_product(), EMAILS)
    priced(setting, ("0", "1"), notation="above")
    service = a_service(setting.product, tenant=a_tenant(server))
    collected(server, "2026-11-01 06:00", tenant_says("alice", emails=6))
    return service


@pytest.fixture
def somebody_else(service):
    """Has the service until a run has passed over it."""
    has = threading.Event()

    def hold():
        with transaction.atomic():
            Service.objects.select_for_update().get(pk=service.pk)
            has.set()
            until = time.monotonic() + 20
            while not Run.objects.exclude(ended_at=None).exists() and time.monotonic() < until:
                time.sleep(0.02)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert has.wait(10)
    yield
    thread.join(20)


def end(service):
    return terminate(service=service, on=date(2026, 11, 3), at=at("2026-11-03 12:00"))


def upgrade(service):
    return change(service=service, product=a_product("Big", price="100"), at=at("2026-11-03 12:00"))


@pytest.mark.parametrize("deed", [end, upgrade])
def test_a_term_that_a_run_passed_over_is_billed_before_the_boundary(service, somebody_else, deed):
    with panel(says(tenant_says("alice", emails=0))):
        with pytest.raises(CannotClose, match="is being billed just now"):
            deed(Service.objects.get(pk=service.pk))
        assert not Invoice.objects.exists()
        deed(Service.objects.get(pk=service.pk))
    assert [line.amount for line in Line.objects.filter(kind="recurring")] == [24]


def test_a_suspended_service_whose_terms_wait_can_end_all_the_same(service):
    service.product.bills_suspended = False
    service.product.save()
    Service.objects.update(status=Service.Status.SUSPENDED)
    with panel(says(tenant_says("alice", emails=0))):
        end(Service.objects.get(pk=service.pk))
    assert Service.objects.get().status == "terminated"
