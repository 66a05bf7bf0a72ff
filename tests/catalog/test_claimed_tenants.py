"""A tenant knows whether a service that is not over has it, whoever changes that and however."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from catalog.models import OVER, Service
from invoicing import unclaimed
from metering.models import Tenant
from tests.builders import a_client, a_product, a_server, a_service, a_tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice():
    return a_tenant(a_server(), "alice")


def claimed():
    return set(Tenant.objects.filter(is_claimed=True).values_list("key", flat=True))


def service_of(tenant, **values):
    return a_service(a_product(), a_client(), tenant, **values)


def test_a_tenant_is_claimed_while_a_service_has_it(alice):
    assert claimed() == set()
    service = service_of(alice)
    assert claimed() == {"alice"}
    service.tenant = None
    service.save()
    assert claimed() == set()


@pytest.mark.parametrize("status", sorted(OVER))
def test_a_service_that_is_over_claims_nothing(alice, status):
    service_of(alice)
    over = {"status": status, "next_due_on": None, "terminated_on": "2026-11-01"}
    Service.objects.update(**over)
    assert claimed() == set()
    Service.objects.update(status="active", next_due_on="2026-12-01", terminated_on=None)
    assert claimed() == {"alice"}


def test_what_one_gave_up_and_another_got_stays_claimed(alice):
    bob = a_tenant(alice.server, "bob")
    first, product = service_of(alice), a_product("Other")
    Service.objects.filter(pk=first.pk).update(tenant=bob)
    assert claimed() == {"bob"}
    a_service(product, first.client, alice)
    assert claimed() == {"alice", "bob"}
    Service.objects.filter(pk=first.pk).delete()
    assert claimed() == {"alice"}


def test_a_service_that_is_refused_changes_nothing(alice):
    first = service_of(alice)
    with pytest.raises(IntegrityError), transaction.atomic():
        a_service(first.product, first.client, alice)
    Service.objects.update(tenant=None)
    assert claimed() == set()


def test_moving_a_term_does_not_look_at_the_tenant(alice):
    """As a billing run does, for all of them."""
    service_of(alice)
    Tenant.objects.update(is_claimed=False)
    Service.objects.update(next_term=5, next_due_on="2027-01-01")
    assert claimed() == set()


def test_those_that_nobody_claims_are_found_by_their_own_index(alice):
    with CaptureQueriesContext(connection) as captured:
        list(unclaimed.tenants().order_by("server_id", "key")[:50])
    [asked] = [each["sql"] for each in captured.captured_queries]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {asked}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "tenants_that_nobody_claims" in plan
    assert "Sort" not in plan
