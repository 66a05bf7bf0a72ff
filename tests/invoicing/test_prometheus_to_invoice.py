"""A real Prometheus scrapes a real page, and what it measured ends on an invoice line."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from billing_site.demo import backdated
from catalog.models import MetricSetting, Product
from invoicing.billing import create_invoices
from invoicing.models import Line
from metering import collection, declaring
from metering.models import Server
from tests.builders import a_client, a_product, a_service, a_tenant, priced
from tests.metering.real_prometheus import real_prometheus

pytestmark = pytest.mark.django_db

PAGE = """\
# TYPE tenant_mailboxes gauge
tenant_mailboxes{tenant="alice"} 25
tenant_mailboxes{tenant="bob"} 3
"""


def a_prometheus(url):
    row = {
        "system_name": "mailboxes",
        "display_name": "Mailboxes",
        "type": "snapshot",
        "unit": "mailboxes",
        "expression": "tenant_mailboxes",
        "label": "tenant",
        "scale": "1",
    }
    return Server.objects.create(
        name="prometheus-01", provider="prometheus", settings={"url": url, "auth": "none", "metrics": [row]}
    )


def enabled_and_priced(product: Product) -> MetricSetting:
    (metric,) = declaring.declared_metrics("prometheus")
    setting = MetricSetting.objects.create(product=product, metric=metric)
    setting.enabled_spans.create(start="2020-01-01")
    priced(setting, ("0", "2"), ("10", "1"), ("20", "0.50"))
    return setting


def test_what_prometheus_scraped_is_billed():
    today = timezone.localdate()
    with real_prometheus(PAGE) as prometheus:
        prometheus.wait_for("tenant_mailboxes")
        server = a_prometheus(prometheus.url)
        # The provider asks for a whole second, which must not lie before the scrape.
        record = collection.collect(server=server, as_of=timezone.now() + timedelta(seconds=1))
    assert (record.status, record.tenants, record.values_seen) == ("complete", 2, 2)
    product = a_product(provider="prometheus")
    enabled_and_priced(product)
    client = a_client()
    anchor, number = backdated(today)
    for name in ("alice", "bob"):
        a_service(product, client, a_tenant(server, name), anchor=str(anchor), next_term=number)
    create_invoices(on=today, at=timezone.now())
    lines = Line.objects.filter(kind="usage").order_by("position")
    assert [(line.service.name, line.quantity, line.amount) for line in lines] == [
        ("alice", 25, Decimal(31)),
        ("bob", 3, Decimal(6)),
    ]
