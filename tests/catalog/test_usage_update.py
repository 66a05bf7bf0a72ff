"""The usage update: both areas show what a service used of its limits, as its server said last."""

from contextlib import contextmanager
from typing import ClassVar
from unittest.mock import patch

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing_site import jobs
from billing_site.models import Job
from catalog.models import UsedOfLimit
from catalog.usage_update import update_usage
from metering import collection, units
from metering.providers import base
from metering.providers.base import BANDWIDTH, DISK, MetricType, Usage
from tests.builders import (
    GB,
    Panel,
    a_client,
    a_product,
    a_server,
    a_service,
    a_staff_user,
    a_tenant,
    a_user,
    at,
    says,
    tenant_says,
)

pytestmark = pytest.mark.django_db


class Host(Panel):
    """A panel that measures space and traffic, the latter as its kind says."""

    kind: ClassVar[MetricType] = MetricType.MONTH

    @classmethod
    def metrics(cls, settings=None):
        return (
            base.Metric(DISK, "Disk space", MetricType.SNAPSHOT, units.GB),
            base.Metric(BANDWIDTH, "Bandwidth", cls.kind, units.GB),
        )


@contextmanager
def host(*answers, kind=MetricType.MONTH):
    Host.says, Host.kind = staticmethod(says(*answers)), kind
    with patch("metering.providers.base.installed", lambda: {"panel": Host}):
        yield


def polled(server, when, *answers, **options):
    with host(*answers, **options):
        server.refresh_from_db()
        return collection.collect(server=server, as_of=at(when))


def used(disk, bandwidth, tenant="alice", quota=None):
    return tenant_says(tenant, **{DISK: Usage(disk * GB, limit=quota), BANDWIDTH: Usage(bandwidth * GB, limit=quota)})


def test_space_and_traffic_and_their_limits_are_brought_over():
    server = a_server()
    service = a_service(tenant=a_tenant(server))
    polled(server, "2026-11-19 06:00", used(14, 120, quota=20 * GB))
    assert update_usage(server) == 1
    row = UsedOfLimit.objects.get(service=service)
    assert (row.disk_used, row.disk_limit, row.bandwidth_used, row.bandwidth_limit) == tuple(
        number * GB for number in (14, 20, 120, 20)
    )
    assert row.measured_at == at("2026-11-19 06:00")
    assert [(meter.title, meter.written, meter.is_over) for meter in row.meters] == [
        ("Space", "14 GB of 20 GB", False),
        ("Traffic this month", "120 GB of 20 GB", True),
    ]


def test_a_later_update_replaces_what_was_there_and_traffic_begins_anew_with_the_month():
    server = a_server()
    a_service(tenant=a_tenant(server))
    polled(server, "2026-11-30 06:00", used(14, 120, quota=20 * GB))
    update_usage(server)
    polled(server, "2026-12-01 06:00", used(15, 1))
    update_usage(server)
    row = UsedOfLimit.objects.get()
    assert (row.disk_used, row.disk_limit, row.bandwidth_used, row.bandwidth_limit) == (15 * GB, None, GB, None)
    assert [meter.written for meter in row.meters] == ["15 GB, without a limit", "1 GB, without a limit"]


def test_traffic_that_is_counted_is_what_was_added_since_the_month_began():
    server = a_server()
    a_service(tenant=a_tenant(server))
    for when, count in (("2026-10-31 06:00", 100), ("2026-11-01 06:00", 130), ("2026-11-02 06:00", 190)):
        polled(server, when, used(1, count), kind=MetricType.COUNTER)
    update_usage(server)
    assert UsedOfLimit.objects.get().bandwidth_used == 90 * GB


def test_zero_is_shown_and_what_was_never_measured_is_not():
    server = a_server()
    a_service(tenant=a_tenant(server), name="empty")
    a_service(tenant=a_tenant(server, "bob"), name="silent")
    polled(server, "2026-11-19 06:00", used(0, 0))
    assert update_usage(server) == 1
    assert [meter.written for meter in UsedOfLimit.objects.get().meters] == [
        "0 MB, without a limit",
        "0 MB, without a limit",
    ]
    assert update_usage(a_server("never-collected")) == 0


def test_any_number_of_services_takes_one_statement():
    server, client, product = a_server(), a_client(), a_product()
    for number in range(30):
        a_service(product, client, a_tenant(server, f"tenant-{number}"))
    polled(server, "2026-11-19 06:00", *[used(number, 1, f"tenant-{number}") for number in range(30)])
    with CaptureQueriesContext(connection) as captured:
        assert update_usage(server) == 30
    assert len(captured) == 2


def test_the_job_asks_servers_that_were_not_asked_lately_and_runs_once_a_day():
    fresh, old = a_server(), a_server("panel-02")
    for server in (fresh, old):
        a_service(tenant=a_tenant(server), name=server.name)
    polled(fresh, "2026-11-19 06:00", used(1, 1))
    polled(old, "2026-11-18 06:00", used(1, 1))
    with host(used(2, 2)):
        said = jobs.run_named(["UsageUpdate"], at=at("2026-11-19 07:00"))
    assert said == {"UsageUpdate": "2 services"}
    assert dict(UsedOfLimit.objects.values_list("service__name", "disk_used")) == {
        "panel-01": GB,
        "panel-02": 2 * GB,
    }
    assert Job.objects.get(name="UsageUpdate").next_due > at("2026-11-19 07:00")


def test_both_areas_show_used_of_limit(client):
    sara = a_user()
    server = a_server()
    service = a_service(client=a_client(users=(sara,)), tenant=a_tenant(server))
    polled(server, "2026-11-19 06:00", used(14, 3, quota=20 * GB))
    update_usage(server)
    for user, name in ((sara, "portal_service"), (a_staff_user(), "staff_service")):
        client.force_login(user)
        with host():
            shown = client.get(reverse(name, args=[service.public_id])).content.decode()
        assert "14 GB of 20 GB" in shown
        assert 'value="14000000000"' in shown
