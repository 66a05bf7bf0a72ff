"""Credentials turn up nowhere, whatever goes wrong: a canary is planted, and everything that is written is searched.

The servers here are the worst there can be: they know the credential, and put it into every kind of answer.
"""

import json
import logging
import socketserver
import struct
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from html import escape
from io import StringIO
from itertools import count
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse
from django_q.models import OrmQ, Task
from django_q.signing import SignedPackage
from django_q.tasks import async_task

from metering.collection import collect
from metering.models import Collection, Latest, Server
from metering.providers import base
from metering.providers.base import Field, ProviderError, TenantUsage
from metering.providers.http import Client, Limits
from tests.builders import Panel, a_server, a_staff_user, at, panel

pytestmark = pytest.mark.django_db(transaction=True)

#: What is searched for is the part that every way of writing it leaves as it is.
MARK = "c4n4ry7f3d9b"
CANARY = f'{MARK}&"/%21@:<x>'
WITH_SECRETS = sorted(
    name for name, kind in base.installed().items() if any(field.kind == "secret" for field in kind.fields)
)
QUICK = Limits(connect=0.5, read=0.2, total=0.6, retries=1, pause=0.01)


def an_answer(status: str, body: str = "", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body.encode())}", f"X-Echo: {CANARY}", *headers]
    return "\r\n".join([*lines, f"Set-Cookie: session={CANARY}", "Connection: close", "", body]).encode()


ECHO = f"{CANARY} {quote(CANARY)} {quote(CANARY, safe='')} {escape(CANARY)} {json.dumps(CANARY)}"
SAID = dict.fromkeys(("error", "message", "reason", "text", "details", "detail", "Code", "Message"), CANARY)
REFUSAL = {**SAID, "status": "error", "metadata": {"result": 0, **SAID}, "cpanelresult": SAID, "errors": SAID}
TRACEBACK = f"Traceback (most recent call last):\n  File 'panel.py', line 7\n    log_in({CANARY!r})\nError: {ECHO}"
STATUS = f"<status>error</status><errcode>1001</errcode><errtext>{escape(CANARY)}</errtext>"
XML = f"<packet><system>{STATUS}</system></packet>"
HTTP = {
    "wrong password": an_answer("401 Unauthorized", ECHO),
    "forbidden": an_answer("403 Forbidden", json.dumps(REFUSAL)),
    "refused": an_answer("400 Bad Request", json.dumps(REFUSAL)),
    "reason": an_answer(f"418 {CANARY}", ECHO),
    "traceback": an_answer("500 Internal Server Error", TRACEBACK),
    "overload": an_answer("503 Busy", ECHO, "Retry-After: 0"),
    "redirect": an_answer(
        "302 Found", ECHO, f"Location: https://u:{CANARY}@h/{quote(CANARY)}/{CANARY}?{CANARY}#{CANARY}"
    ),
    "redirect to nowhere": an_answer("302 Found", ECHO, f"Location: {CANARY}://{CANARY}"),
    "error with 200": an_answer("200 OK", json.dumps(REFUSAL)),
    "list of errors": an_answer("200 OK", json.dumps([["error", {"type": CANARY, "exitCode": 68}, CANARY], REFUSAL])),
    "errors as text": an_answer("200 OK", f"error=1&text={quote(CANARY)}&details={quote(CANARY)}"),
    "errors as xml": an_answer("200 OK", XML),
    "login page": an_answer("200 OK", f"<!DOCTYPE html><title>Log in, {escape(CANARY)}</title>{ECHO}"),
    "damaged": an_answer("200 OK", f'{{"data": "{CANARY}'),
    "data": an_answer("200 OK", json.dumps({"status": "success", "data": CANARY, "result": CANARY})),
    "truncated": an_answer("200 OK").replace(b"Content-Length: 0", b"Content-Length: 9999") + CANARY.encode(),
    "encoding": an_answer("200 OK", ECHO, "Content-Encoding: gzip"),
    "no http": CANARY.encode(),
    "silence": b"",
}
GSS, SSL = 80877104, 80877103


def postgresql(connection: Any) -> None:
    """Refuse a log-in as PostgreSQL does."""
    while (packet := connection.recv(4096)) and struct.unpack("!I", packet[4:8])[0] in (GSS, SSL):
        connection.sendall(b"N")
    fields = f"SFATAL\0C28P01\0Mpassword {CANARY} is wrong: {ECHO}\0D{ECHO}\0\0".encode()
    connection.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)


def mariadb(connection: Any) -> None:
    """Refuse a connection as MariaDB does, before anybody says anything."""
    body = b"\xff" + struct.pack("<H", 1045) + b"#28000" + f"Access denied, {ECHO}".encode()
    connection.sendall(struct.pack("<I", len(body))[:3] + b"\0" + body)


@contextmanager
def a_hostile_server(answer: Callable[[Any], None]) -> Iterator[int]:
    """Answer every connection to a port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                answer(self.request)

    class Hostile(socketserver.ThreadingTCPServer):
        daemon_threads = allow_reuse_address = True

    with Hostile(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def over_http(said: bytes) -> Callable[[Any], None]:
    def answer(connection: Any) -> None:
        connection.recv(65536)
        if not said:
            connection.recv(65536)  # until the other side gives up
        connection.sendall(said)

    return answer


def answers_for(kind: type[base.Provider]) -> dict[str, Callable[[Any], None]]:
    if any(field.name == "url" for field in kind.fields):
        return {name: over_http(said) for name, said in HTTP.items()}
    return {"refused": {"PostgreSQL": postgresql, "MariaDB": mariadb}[kind.title]}


def filled(field: Field, port: int) -> Any:
    known = {"url": f"http://127.0.0.1:{port}", "host": "127.0.0.1", "port": port}
    if field.name in known:
        return known[field.name]
    if field.kind == "rows":
        return [{column.name: filled(column, port) for column in field.columns}]
    if field.initial is not None or not field.required:
        return field.initial
    return field.choices[0][0] if field.choices else "x"


NUMBERS = count()  # a port may come twice


def servers_of(name: str, port: int) -> Iterator[Server]:
    """A server with canaries for credentials, in every way of authentication that its provider has."""
    fields = base.provider(name).fields
    ways = next((field.choices for field in fields if field.name == "auth"), (("", ""),))
    for way, _ in ways:
        entered = {field.name: filled(field, port) for field in fields if field.kind != "secret"}
        secrets = {field.name: CANARY for field in fields if field.kind == "secret"}
        yield a_server(
            f"{name} {way} {next(NUMBERS)}",
            provider=name,
            settings=entered | ({"auth": way, "username": "tally"} if way else {}),
            credentials=secrets,
        )


@pytest.fixture
def quick(monkeypatch):
    """Let no provider wait for long."""
    init = Client.__init__
    monkeypatch.setattr(Client, "__init__", lambda self, url, **more: init(self, url, **{**more, "limits": QUICK}))


class Everything:
    """Collects all that is written, by whomever, to search it."""

    def __init__(self, client: Any, caplog: Any, capfd: Any) -> None:
        self.client, self.caplog, self.capfd = client, caplog, capfd
        self.pages: list[str] = []
        self.log = settings.VAR_DIR / "postgresql" / "log"
        self.log_before = self.log.stat().st_size if self.log.exists() else 0

    def ask(self, server: Server) -> None:
        """Do with a server all that can be done."""
        for view in ("staff_server_collect", "staff_server_test"):
            self.show(self.client.post(reverse(view, args=[server.pk]), follow=True))
        collect(server=server, as_of=at("2026-11-19 06:10"), tenant="alice")
        self.run("check_provider", server.provider, "--server", server.name)

    def run(self, *command: str) -> None:
        out = StringIO()
        with suppress(CommandError):
            call_command(*command, stdout=out, stderr=out)
        self.pages.append(out.getvalue())

    def look(self, server: Server) -> None:
        """Look at all pages that show something of it."""
        lists = ("staff_servers", "staff_collections", "home", "admin:index", "admin:metering_server_changelist")
        pages = [reverse(view) for view in lists]
        pages += [reverse(view, args=[server.pk]) for view in ("staff_server", "staff_server_edit")]
        pages += [reverse("staff_collection", args=[record.pk]) for record in server.collections.all()]
        pages += [reverse("admin:metering_server_change", args=[server.pk])]
        for page in pages:
            self.show(self.client.get(page, follow=True))

    def show(self, response: Any) -> None:
        assert response.status_code == 200, response
        self.pages.append(response.content.decode())

    def found(self) -> list[str]:
        """Return the places where the canary is."""
        written = {"a page": self.pages, "the output": list(self.capfd.readouterr())}
        written["the log"] = [self.caplog.text, *(str(vars(record)) for record in self.caplog.records)]
        written |= tables()
        if self.log.exists():
            with self.log.open(errors="replace") as log:
                log.seek(self.log_before)
                written["the log of PostgreSQL"] = [log.read()]
        return [f"{place}: {near(text)}" for place, texts in written.items() for text in texts if near(text)]


@pytest.fixture
def everything(client, caplog, capfd, quick):
    client.force_login(a_staff_user())
    client.raise_request_exception = False
    with caplog.at_level(logging.DEBUG):
        yield Everything(client, caplog, capfd)


def near(text: str) -> str:
    """Return what is around the canary in a text, as it is or within base64, or nothing."""
    for spelled in (MARK, *in_base64(MARK)):
        if (position := text.find(spelled)) >= 0:
            return text[max(position - 60, 0) : position + 60]
    return ""


def in_base64(text: str) -> list[str]:
    """The part of a text in base64 that does not depend on its neighbours, for each way in which it can be cut."""
    return [b64encode(bytes(shift) + text.encode()).decode()[4 if shift else 0 : -4] for shift in range(3)]


def tables() -> dict[str, list[str]]:
    """All that is in the database, with sessions and jobs unpacked."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        names = [name for (name,) in cursor.fetchall()]
        rows = {}
        for name in names:
            cursor.execute(f'SELECT t::text FROM "{name}" t')
            rows[name] = [text for (text,) in cursor.fetchall()]
    rows["sessions"] = [str(session.get_decoded()) for session in Session.objects.all()]
    rows["jobs that wait"] = [str(SignedPackage.loads(job.payload)) for job in OrmQ.objects.all()]
    rows["jobs"] = [str([task.func, task.args, task.kwargs, task.result]) for task in Task.objects.all()]
    return rows


def test_the_search_finds_what_is_there(everything, caplog):
    """A search that finds nothing proves nothing."""
    server = a_server(settings={"host": CANARY})
    logging.getLogger("acme").debug("asked with %s", CANARY)
    logging.getLogger("acme").debug(b64encode(f"tally:{CANARY}".encode()).decode())
    everything.client.session["typed"] = CANARY
    async_task("operator.concat", "a", CANARY, sync=True)
    with connection.cursor() as cursor, suppress(Exception):
        cursor.execute(f"SELECT 1/0 AS {MARK}")
    with panel():
        everything.look(server)
    print(CANARY)
    places = {place.split(":")[0] for place in everything.found()}
    assert {"a page", "the log", "the output", "metering_server", "jobs"} <= places
    assert not everything.log.exists() or "the log of PostgreSQL" in places


@pytest.mark.parametrize("name", WITH_SECRETS)
def test_a_server_that_repeats_credentials_in_every_way_does_not_get_them_written_down(name, everything):
    for what, answer in answers_for(base.provider(name)).items():
        with a_hostile_server(answer) as port:
            for server in servers_of(name, port):
                everything.ask(server)
                assert not Latest.objects.exists(), what
    everything.look(server)
    everything.run("collect_usage", "--server", server.name)
    assert not everything.found()


def a_rude_provider(deed: Callable[[str], Any], where: str) -> type[Panel]:
    """A provider that cannot keep anything to itself."""

    class Rude(Panel):
        def __init__(self, connection: base.Connection) -> None:
            super().__init__(connection)
            if where == "start":
                deed(CANARY)

        def check(self) -> str:
            return deed(CANARY) if where == "check" else "Rude 1.0"

        def usage(self, period: Any = None) -> Iterator[TenantUsage]:
            yield TenantUsage("alice", {}, {"disk": f"refused with {self.connection.credentials}: {CANARY}"})
            if where == "usage":
                deed(CANARY)

        def tenant_usage(self, tenant: str) -> TenantUsage:
            deed(CANARY)
            return TenantUsage(tenant, {}, {"disk": f"refused: {quote(CANARY)}"})

    return Rude


def raising(kind: type[BaseException]) -> Callable[[str], None]:
    def fail(secret: str) -> None:
        try:
            raise ValueError(f"could not log in with {secret}")
        except ValueError as error:
            raise kind(f"could not log in with {secret}") from error

    return fail


@pytest.mark.parametrize("where", ["start", "check", "usage"])
def test_a_provider_that_repeats_credentials_does_not_get_them_written_down(where, everything, monkeypatch):
    kinds = (ProviderError, RuntimeError, KeyError, SystemExit, UnicodeError, TimeoutError)
    server = a_server(credentials={"token": CANARY})
    for deed in (str, *map(raising, kinds)):
        rude = a_rude_provider(deed, where)
        monkeypatch.setattr(base, "installed", lambda rude=rude: {"panel": rude})
        everything.ask(server)
        everything.run("collect_usage")
    async_task("billing_site.jobs.tick", sync=True)
    everything.look(server)
    assert Task.objects.get().success
    assert not everything.found()


def test_the_log_says_where_a_provider_stopped(everything, caplog, monkeypatch):
    monkeypatch.setattr(base, "installed", lambda: {"panel": a_rude_provider(raising(RuntimeError), "usage")})
    collect(server=a_server(credentials={"token": CANARY}), as_of=at("2026-11-19 06:00"))
    assert Collection.objects.get().error == "The provider stopped with RuntimeError. The log has the details."
    (said,) = [record.getMessage() for record in caplog.records if record.name == "metering.collection"]
    assert "RuntimeError at " in said
    assert f"{__file__}:{raising.__code__.co_firstlineno + 5}" in said


def test_credentials_that_could_not_be_saved_yet_are_on_no_page_and_in_no_session(everything):
    address = reverse("staff_server_new", args=["whm"])
    everything.show(everything.client.post(address, {"name": "", "token": CANARY}))
    assert not everything.found()


def test_what_knows_credentials_does_not_print_them():
    known = base.Connection({}, {"token": CANARY}, at("2026-11-19 06:00"), at("2026-11-19 06:00").tzinfo)
    stored = Server.objects.get(pk=a_server(credentials={"token": CANARY}).pk)
    assert not near(f"{known!r} {known} {stored.credentials} {vars(stored)}")
    assert stored.credentials == {"token": CANARY}
    out = StringIO()
    call_command("dumpdata", "metering", stdout=out)
    assert not near(out.getvalue())
