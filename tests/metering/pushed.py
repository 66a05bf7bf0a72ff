"""What tests of pushed usage need: a server that takes it, a key, and requests that show it."""

import json
from datetime import datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

from django.test import Client

from metering import formats, push_keys, pushing
from metering.models import Metric, Server, Usage
from metering.pushing import Outcome
from tests.builders import a_server, at

NOW = "2026-11-20 12:00"
METRICS = [
    {"system_name": "disk", "display_name": "Disk space", "type": "snapshot", "unit": "GB"},
    {"system_name": "emails", "display_name": "Emails sent", "type": "day", "unit": "whole"},
    {"system_name": "bandwidth", "display_name": "Bandwidth", "type": "month", "unit": "GB"},
    {"system_name": "calls", "display_name": "API calls", "type": "counter", "unit": "whole"},
]


def a_push_server(name: str = "shop", **values: Any) -> Server:
    return a_server(name, **{"provider": "push", "settings": {"metrics": METRICS}, **values})


def a_key(server: Server, name: str = "shop-01", metrics: tuple[str, ...] = (), when: str = NOW) -> str:
    """The text of a new key."""
    return push_keys.make(server=server, name=name, metrics=metrics, by=None, at=at(when))[1]


def ndjson(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def pushed(server: Server, *lines: dict[str, Any], when: str | datetime = NOW, **options: Any) -> Outcome:
    """Push these lines, without HTTP."""
    read = formats.read(BytesIO(ndjson(*lines)), formats.Format.NDJSON, 10_000)
    now = when if isinstance(when, datetime) else at(when)
    return pushing.push(server=server, lines=read, at=now, **{"is_listed": True, **options})


def errors(outcome: Outcome) -> list[str]:
    return [result.error for result in outcome.results if result.error]


def usage(server: Server, metric: str, tenant: str = "alice") -> dict[str, Decimal]:
    """What counts for a tenant's metric, in the base of its unit, by the first day of its period."""
    rows = Usage.objects.filter(
        tenant_id__in=server.tenants.filter(key=tenant).values("pk"),
        metric_id__in=Metric.objects.filter(provider="push", system_name=metric).values("pk"),
    )
    return {str(row.start): row.value for row in rows.order_by("start")}


def post(key: str, body: Any, content_type: str = "application/json", query: str = "", **headers: str) -> Any:
    """Push over HTTP: bytes or text as they are, anything else as JSON."""
    raw = body if isinstance(body, bytes | str) else json.dumps(body)
    shown = {"Authorization": f"Bearer {key}"} if key else {}
    address = f"/api/v1/usage{query}"
    return Client().post(address, raw, content_type=content_type, headers={**shown, **headers})
