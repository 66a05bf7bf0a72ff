"""A stand-in for a Plesk server: its XML API as the public documentation describes it, over real HTTP.

It is no Plesk: what works against it has still to be tried against the real thing. Accounts, numbers and
the wording of errors are our own.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

KEY, LOGIN, PASSWORD = "24f8c5e5-fcb5-bdfc-aac0-7bff0e800334", "meter", "p<w&d/%21"
FIELDS = ("http_in", "http_out", "ftp_in", "ftp_out", "smtp_in", "smtp_out", "pop3_imap_in", "pop3_imap_out")


@dataclass
class Subscription:
    """What the server knows of one. `refuses` are the operations that fail for it."""

    name: str
    owner: str = "someone"
    status: int = 0
    size: int | str = 0
    boxes: int | str = 0
    databases: int | str = 0
    limits: dict[str, int | str] = field(default_factory=dict)
    sites: tuple[str, ...] = ()
    days: dict[str, dict[str, int | str]] = field(default_factory=dict)
    refuses: tuple[str, ...] = ()


@dataclass
class Plesk:
    """The server: its subscriptions by number, what it was asked, and how it fails."""

    subscriptions: dict[int, Subscription] = field(default_factory=dict)
    asked: list[Element] = field(default_factory=list)
    #: 500, 429, slow, or a function that damages the body of an answer.
    fault: str | Callable[[bytes], bytes] = ""
    #: Operations for which the fault is kept; all, if empty.
    fault_in: tuple[str, ...] = ()
    url: str = ""

    def operations(self) -> list[str]:
        """What it was asked, such as `webspace get`."""
        return [f"{packet[0].tag} {packet[0][0].tag}" for packet in self.asked]

    def answer(self, packet: Element) -> Element:
        operator, operation = packet[0], packet[0][0]
        response = Element("packet", version="1.6.9.1")
        results = SubElement(SubElement(response, operator.tag), operation.tag)
        tell = {"webspace get": self.webspace, "site get": self.site, "webspace get_traffic": self.traffic}
        if f"{operator.tag} {operation.tag}" not in tell:
            return refusal("1014", "Parser error: unknown request")
        chosen = self.chosen(operation.find("filter"))
        if not chosen and len(operation.find("filter")):
            error(SubElement(results, "result"), "1013", "subscription does not exist")
        for number, subscription in chosen.items():
            if f"{operator.tag} {operation.tag}" in subscription.refuses:
                result = SubElement(results, "result")
                error(result, "1013", "Object not found.")
                SubElement(result, "id").text = str(number)
            else:
                tell[f"{operator.tag} {operation.tag}"](results, operation, number, subscription)
        if not len(results):
            put(SubElement(results, "result"), status="ok")
        return response

    def chosen(self, chosen: Element) -> dict[int, Subscription]:
        ids = {int(node.text) for node in chosen.iterfind("id")}
        names = {node.text for node in (*chosen.iterfind("name"), *chosen.iterfind("parent-name"))}
        return {
            number: subscription
            for number, subscription in self.subscriptions.items()
            if not len(chosen) or number in ids or subscription.name in names
        }

    def webspace(self, results: Element, asked: Element, number: int, subscription: Subscription) -> None:
        datasets = [node.tag for node in asked.find("dataset")]
        assert datasets == [name for name in ("gen_info", "limits", "stat") if name in datasets], "their order matters"
        result = SubElement(results, "result")
        put(result, status="ok", **{"filter-id": number, "id": number})
        data = SubElement(result, "data")
        info = SubElement(data, "gen_info")
        put(info, name=subscription.name, status=subscription.status, real_size=subscription.size)
        put(info, **{"owner-login": subscription.owner, "guid": f"guid-{number}"})
        if "limits" in datasets:
            limits = SubElement(data, "limits")
            for name, value in subscription.limits.items():
                put(SubElement(limits, "limit"), name=name, value=value)
        if "stat" in datasets:
            put(SubElement(data, "stat"), traffic=1, subdom=0, box=subscription.boxes, db=subscription.databases)

    def site(self, results: Element, asked: Element, number: int, subscription: Subscription) -> None:
        for place, name in enumerate((subscription.name, *subscription.sites)):
            result = SubElement(results, "result")
            put(result, status="ok", id=number * 1000 + place)
            info = SubElement(SubElement(result, "data"), "gen_info")
            # Of its main site a subscription has the same GUID.
            guid = {"guid": f"guid-{number}-{place}", "webspace-guid": f"guid-{number}"}
            put(info, name=name, **(guid if place else {"guid": f"guid-{number}"}))

    def traffic(self, results: Element, asked: Element, number: int, subscription: Subscription) -> None:
        since, until = (date.fromisoformat(asked.findtext(name)) for name in ("since_date", "to_date"))
        result = SubElement(results, "result")
        put(result, status="ok", **{"filter-id": number, "id": number})
        for day, counts in subscription.days.items():
            if since <= date.fromisoformat(day) <= until:
                put(SubElement(result, "traffic"), date=day, **{name: counts.get(name, 0) for name in FIELDS})


def put(element: Element, **values: object) -> None:
    for name, value in values.items():
        SubElement(element, name).text = str(value)


def error(element: Element, code: str, text: str) -> Element:
    put(element, status="error", errcode=code, errtext=text)
    return element


def refusal(code: str, text: str) -> Element:
    packet = Element("packet", version="1.6.9.1")
    error(SubElement(packet, "system"), code, text)
    return packet


def allowed(headers: object) -> Element | None:
    """Return how a request is refused for its credentials."""
    if "KEY" in headers:
        return None if headers["KEY"] == KEY else refusal("11003", f"Secret key {headers['KEY']} validation failed")
    login = (headers["HTTP_AUTH_LOGIN"], headers["HTTP_AUTH_PASSWD"])
    return None if login == (LOGIN, PASSWORD) else refusal("1001", "Authentication failed - wrong password.")


@contextmanager
def running(plesk: Plesk) -> Iterator[Plesk]:
    """Let a server be asked at its `url`, on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            packet = fromstring(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/enterprise/control/agent.php"
            assert self.headers["Content-Type"] == "text/xml"
            plesk.asked.append(packet)
            fault = plesk.fault if not plesk.fault_in or plesk.operations()[-1] in plesk.fault_in else ""
            if fault in ("500", "429"):
                return self.say(int(fault), b"Service unavailable")
            if fault == "slow":
                time.sleep(3)
            answer = allowed(self.headers)
            body = b'<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(
                plesk.answer(packet) if answer is None else answer
            )
            self.say(200, fault(body) if callable(fault) else body)

        def say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(body)))
            with suppress(ConnectionError):  # whoever asked may have gone
                self.end_headers()
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    plesk.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield plesk
    finally:
        server.shutdown()
        server.server_close()
