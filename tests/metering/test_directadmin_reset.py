"""The turn of a month on a DirectAdmin server: its last tally reaches the old month, its reset never does."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from metering.collection import collect
from metering.models import Collection, Metric, Server, Usage
from tests.builders import a_server
from tests.metering.standin_panels import LOGIN_KEY, DirectAdmin, running

pytestmark = pytest.mark.django_db

BERLIN = ZoneInfo("Europe/Berlin")
MIB = 2**20


@pytest.fixture
def panel() -> Iterator[DirectAdmin]:
    with running(DirectAdmin()) as panel:
        yield panel  # type: ignore[misc]


def a_directadmin(panel: DirectAdmin) -> Server:
    settings = {"url": panel.url, "user": "admin", "reset": "01:40", "counts": "no"}
    return a_server(
        provider="directadmin", time_zone="Europe/Berlin", settings=settings, credentials={"key": LOGIN_KEY}
    )


def seen(panel: DirectAdmin, server: Server, when: str, mib: int) -> Collection:
    """Collect at a local time, with the server showing so much bandwidth of every user."""
    for tenant in panel.tenants.values():
        tenant["bandwidth"] = str(mib)
    return collect(server=server, as_of=datetime.fromisoformat(when).replace(tzinfo=BERLIN))


def months(server: Server) -> dict[str, Decimal]:
    """The bandwidth of alice in MiB, by month."""
    tenant, metric = server.tenants.get(key="alice"), Metric.objects.get(system_name="bandwidth")
    return {f"{row.start:%Y-%m}": row.value / MIB for row in Usage.objects.of(tenant.pk, metric.pk)}


def test_every_tally_and_the_reset_reach_the_month_that_they_are_of(panel):
    server = a_directadmin(panel)
    seen(panel, server, "2026-10-31 18:00", 3000)
    assert months(server) == {"2026-10": 3000}
    seen(panel, server, "2026-11-01 00:10", 3000)  # yesterday's tally is still shown
    assert months(server) == {"2026-10": 3000}
    seen(panel, server, "2026-11-01 01:00", 3100)  # the tally of the last day of October
    assert months(server) == {"2026-10": 3100}
    late = seen(panel, server, "2026-11-01 01:50", 3100)  # the reset is late
    assert months(server) == {"2026-10": 3100}
    assert "may still be the month before's" in str(late.problems)
    assert seen(panel, server, "2026-11-01 02:00", 0).status == Collection.Status.COMPLETE
    assert months(server) == {"2026-10": 3100, "2026-11": 0}
    seen(panel, server, "2026-11-02 06:00", 90)
    assert months(server) == {"2026-10": 3100, "2026-11": 90}


def test_a_tally_of_the_new_month_right_after_the_reset_does_not_reach_the_old_one(panel):
    server = a_directadmin(panel)
    seen(panel, server, "2026-10-31 18:00", 3000)
    seen(panel, server, "2026-11-01 05:00", 2)  # somebody pressed the button that counts anew
    assert months(server) == {"2026-10": 3000}
    seen(panel, server, "2026-11-01 12:00", 4)
    assert months(server) == {"2026-10": 3000, "2026-11": 4}


def test_a_reset_that_a_wrong_time_zone_puts_into_the_old_month_is_held(panel):
    server = a_directadmin(panel)
    panel.tenants |= {f"user{number}": dict(panel.tenants["alice"]) for number in range(3)}
    seen(panel, server, "2026-10-31 12:00", 3000)
    assert seen(panel, server, "2026-10-31 20:00", 0).status == Collection.Status.HELD
    assert months(server) == {"2026-10": 3000}
