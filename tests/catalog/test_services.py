"""Services: a client's product as a tenant, under one key, claimed once."""

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from metering.models import Latest
from tests.builders import Panel, a_client, a_product, a_server, a_service, a_tenant, collected, tenant_says

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("key", ["alice", "alice.example", "customer 4711/b"])
def test_the_key_of_a_tenant_is_whatever_the_server_calls_it_in_collections_and_refreshes(key):
    """Statement 13: explicit per service, and the same for both."""
    server = a_server()
    service = a_service(tenant=a_tenant(server, key))
    collected(server, "2026-11-19 06:00", tenant_says(key, disk=1))
    collected(server, "2026-11-19 07:00", tenant_says(key, disk=2), tenant=service.tenant.key)
    assert Panel.asked == [("tenant_usage", key)]
    assert Latest.objects.get(tenant_id=service.tenant_id).value == 2


def test_two_living_services_cannot_have_one_tenant():
    """Statement 14: refused, with a message for people."""
    tenant = a_tenant(a_server())
    first = a_service(tenant=tenant)
    with pytest.raises(IntegrityError, match="one_living_service_per_tenant"), transaction.atomic():
        a_service(tenant=tenant, client=a_client("Other"))
    first.pk = None
    with pytest.raises(ValidationError, match="has this tenant already"):
        first.validate_constraints()


def test_a_tenant_is_free_again_when_its_service_is_over():
    tenant = a_tenant(a_server())
    a_service(tenant=tenant, status="cancelled")
    a_service(tenant=tenant)


def test_what_a_service_needs_cannot_be_deleted():
    service = a_service(a_product(), tenant=a_tenant(a_server()))
    for needed in (service.client, service.product, service.tenant, service.tenant.server):
        with pytest.raises(ProtectedError):
            needed.delete()
