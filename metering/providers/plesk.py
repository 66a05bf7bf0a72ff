"""Plesk: the subscriptions of a server, by its XML API.

One call tells of all subscriptions, one of all their sites, and one for some hundred subscriptions of their
traffic by day. Traffic is added up from the days of a month, and not taken from Plesk's own total of the
month, so that a month or day that is over can be asked for again and the turn of a month moves nothing.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from html import escape
from typing import Any, ClassVar

# Only to build elements; documents are read by `_Reader`, which refuses what makes XML unsafe.
from xml.etree.ElementTree import Element, TreeBuilder  # nosec B405
from xml.parsers.expat import ExpatError, ParserCreate  # nosec B407

from metering.decimals import exact_sum, parse
from metering.periods import Period, local_day, month
from metering.providers import http
from metering.providers.base import (
    BANDWIDTH,
    DISK,
    Connection,
    Field,
    Metric,
    MetricType,
    Provider,
    ProviderError,
    TenantUsage,
    Usage,
)
from metering.providers.base import gettext_noop as _
from metering.providers.http import Client, Limits
from metering.units import DATABASES, DOMAINS, GB, MAILBOXES, MB

PATH = "/enterprise/control/agent.php"
DAILY = "traffic_daily"
#: Subscriptions whose traffic is asked for in one call: a month of one takes some 9 kB.
BATCH = 500
#: An answer is read in pieces of this size; one result of it is at most so many elements, so deep.
PIECE, ELEMENTS, DEPTH = 2**18, 20_000, 16

_IN = ("http_in", "ftp_in", "smtp_in", "pop3_imap_in")
_OUT = ("http_out", "ftp_out", "smtp_out", "pop3_imap_out")
_COUNTED = {"both": _IN + _OUT, "in": _IN, "out": _OUT}
_TRAFFIC = (
    ("both", _("received and sent")),
    ("out", _("sent")),
    ("in", _("received")),
)
_AUTH = (("key", _("Secret key")), ("password", _("User name and password")))
# Where the values of a subscription stand, and what Plesk calls their limits.
_LEVELS = {
    DISK: ("gen_info/real_size", "disk_space"),
    "mailboxes": ("stat/box", "max_box"),
    "databases": ("stat/db", "max_db"),
}
_HINTS = {
    "1001": "Check the user name and the password.",
    "1006": "The user may not use the XML API, or not for this. Give that right, or take another user.",
    "1010": "The user may not come in from the address of this site. Allow it in Plesk.",
    "1014": "Plesk does not know this request. Tell the makers of this provider its version.",
    "11003": "Check the secret key, and that it was made for the IP address of this site.",
}
_ID = re.compile(r"[0-9]{1,18}", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


@dataclass(slots=True)
class _Subscription:
    """A subscription: the number and name that Plesk gave it, and what is known of it so far."""

    number: str
    name: str
    guid: str
    limits: Mapping[str, Decimal]
    values: dict[str, Usage] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


class Plesk(Provider):
    """Usage of the subscriptions of one server, active or suspended.

    - `disk_used`: bytes, as Plesk counts them for the subscription's quota.
    - `bandwidth`: bytes of the calendar month, over HTTP, FTP, SMTP, POP3 and IMAP.
    - `traffic_daily`: the same, of a day.
    - `mailboxes`, `databases`: how many there are.
    - `domains`: sites of the subscription, without those that lie below another of its sites.
    """

    title: ClassVar[str] = "Plesk"
    tenant_is: ClassVar[str] = _("the name of a subscription, its main domain")
    resets: ClassVar[str] = _(
        "Traffic belongs to the day and month in the time zone of the server. Plesk counts it once a day, by its "
        "nightly statistics, so it is up to a day late; a month or day that is over is asked for again. Used space "
        "is counted by the same statistics."
    )
    fields: ClassVar[tuple[Field, ...]] = (
        Field("url", "URL", help="https://host:8443"),
        *http.TLS,
        Field("auth", _("Authentication"), "choice", initial="key", choices=_AUTH),
        Field("username", _("User name"), required=False),
        Field("password", _("Secret key or password"), kind="secret"),
        Field("traffic", _("Traffic counts what was"), "choice", initial="both", choices=_TRAFFIC),
    )
    can_look_back: ClassVar[bool] = True
    limits: ClassVar[Limits] = Limits()

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._counted = _COUNTED.get(str(connection.settings.get("traffic") or "both"), _IN + _OUT)

    @classmethod
    def metrics(cls, settings: Mapping[str, Any] | None = None) -> Sequence[Metric]:
        return (
            Metric(DISK, _("Disk used"), MetricType.SNAPSHOT, MB),
            Metric(BANDWIDTH, _("Traffic"), MetricType.MONTH, GB),
            Metric(DAILY, _("Traffic by day"), MetricType.DAY, GB),
            Metric("mailboxes", _("Mailboxes"), MetricType.SNAPSHOT, MAILBOXES),
            Metric("databases", _("Databases"), MetricType.SNAPSHOT, DATABASES),
            Metric("domains", _("Domains"), MetricType.SNAPSHOT, DOMAINS),
        )

    def check(self) -> str:
        """Return "Plesk, XML API 1.6.9.1, 214 subscriptions": its version, and what the user may see."""
        with self._client() as client:
            reader = _Reader()
            found, refused = self._subscriptions(client, "", details=False, reader=reader)
            version = client.quote(reader.version) or "of unknown version"
        also = f", {len(refused)} of them refused" if refused else ""
        total = len(found) + len(refused)
        return f"Plesk, XML API {version}, {total} subscription{'' if total == 1 else 's'}{also}"

    def usage(self, period: Period | None = None) -> Iterator[TenantUsage]:
        """Yield every subscription. Raises ProviderError for a period that is not over, too."""
        metrics = self._totals(period) if period else [metric.system_name for metric in self.metrics()]
        with self._client() as client:
            found, refused = self._subscriptions(client, "", details=not period)
            if refused:
                yield TenantUsage("", {}, dict.fromkeys(metrics, _some(refused)))
            if not period:
                self._count_domains(client, "", found)
            for start in range(0, len(found), BATCH):
                batch = found[start : start + BATCH]
                self._add_traffic(client, batch, period)
                yield from (TenantUsage(one.name, one.values, one.failures) for one in batch)

    def tenant_usage(self, tenant: str) -> TenantUsage:
        with self._client() as client:
            found, refused = self._subscriptions(client, f"<name>{escape(tenant, quote=False)}</name>")
            if not found:
                why = f" It says: {_some(refused)}." if refused else ""
                raise ProviderError(f"Plesk shows no subscription {tenant!r}.{why} Check its name.")
            (one, *_) = found
            self._count_domains(client, f"<parent-name>{escape(tenant, quote=False)}</parent-name>", [one])
            self._add_traffic(client, [one], None)
        return TenantUsage(one.name, one.values, one.failures)

    def _client(self) -> Client:
        settings, secret = self._connection.settings, self._connection.credentials.get("password") or ""
        if not secret:
            raise ProviderError("The secret key or password is missing. Enter it.")
        headers = {"KEY": secret}
        if settings.get("auth") == "password":
            headers = {"HTTP_AUTH_LOGIN": str(settings.get("username") or ""), "HTTP_AUTH_PASSWD": secret}
        return Client.to(self._connection, headers=headers, limits=self.limits)

    def _ask(self, client: Client, request: str, reader: "_Reader | None" = None) -> Iterator[Element]:
        """Yield the results of a request: those that are "ok", and those that are refused.

        Raises ProviderError when Plesk refuses the request as a whole, or the answer is damaged.
        """
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<packet>{request}</packet>'.encode()
        empty = True
        for result in (reader or _Reader()).read(client.send(PATH, body, "text/xml")):
            empty = False
            if result.tag == "system" and result.findtext("status") != "ok":
                hint = _HINTS.get(result.findtext("errcode") or "", "Look into the logs of Plesk.")
                raise ProviderError(f"Plesk refuses to answer: {_refusal(client, result)}. {hint}")
            if result.tag == "result":
                yield result
        if empty:
            raise ProviderError("Plesk answers with a packet that holds no result. Look into its logs.")

    def _subscriptions(
        self, client: Client, filtered: str, *, details: bool = True, reader: "_Reader | None" = None
    ) -> tuple[list[_Subscription], list[str]]:
        """Return the subscriptions, all of them without a filter, and why others are refused."""
        found, refused = list[_Subscription](), list[str]()
        dataset = "<gen_info/><limits/><stat/>" if details else "<gen_info/>"
        request = f"<webspace><get><filter>{filtered}</filter><dataset>{dataset}</dataset></get></webspace>"
        for result in self._ask(client, request, reader):
            number, name = _text(result, "id"), _text(result, "data/gen_info/name")
            if _text(result, "status") != "ok":
                refused.append(_refusal(client, result))
            elif _ID.fullmatch(number) and name:
                limits = dict(_limits(result))
                one = _Subscription(number, name, _text(result, "data/gen_info/guid"), limits)
                if details:
                    _add_levels(one, result)
                found.append(one)
            elif number or result.find("data") is not None:
                refused.append("a subscription without a name or a number")
            # else the answer is that there are none
        often = Counter(one.name for one in found)
        refused += [f"{client.quote(name)} is listed {count} times" for name, count in often.items() if count > 1]
        return [one for one in found if often[one.name] == 1], refused

    def _count_domains(self, client: Client, filtered: str, found: Sequence[_Subscription]) -> None:
        """Count the sites of the subscriptions. A site that is refused could be anybody's: then nobody's count is."""
        sites, refused = defaultdict[str, set[str]](set), list[str]()
        request = f"<site><get><filter>{filtered}</filter><dataset><gen_info/></dataset></get></site>"
        try:
            for result in self._ask(client, request):
                name, info = _text(result, "data/gen_info/name"), "data/gen_info/"
                guid = _text(result, info + "webspace-guid") or _text(result, info + "guid")
                if _text(result, "status") != "ok":
                    refused.append(_refusal(client, result))
                elif name and guid:
                    sites[guid].add(name.lower())
                elif _text(result, "id") or result.find("data") is not None:
                    refused.append("a site without a name or its subscription")
        except ProviderError as error:
            refused = [str(error)]
        for one in found:
            if refused or not one.guid:
                one.failures["domains"] = _some(refused) or "the subscription has no GUID by which sites are found"
            else:
                names = sites[one.guid]
                count = sum(1 for name in names if not _lies_below(name, names))
                one.values["domains"] = Usage(Decimal(count), limit=one.limits.get("max_site"))

    def _add_traffic(self, client: Client, batch: Sequence[_Subscription], period: Period | None) -> None:
        """Add the traffic of a closed period, or of the day and month so far, to some subscriptions."""
        today = local_day(self._connection.as_of, self._connection.time_zone)
        asked = period or Period(today.replace(day=1), today + timedelta(days=1))
        days, failures = self._days(client, batch, asked, min(asked.end, today))
        for one in batch:
            if reason := failures.get(one.number):
                one.failures |= dict.fromkeys(self._totals(period), reason)
                continue
            total = exact_sum(days[one.number].values())
            if period:
                (metric,) = self._totals(period)
                one.values[metric] = Usage(total, start=period.start, end=period.end)
            else:
                one.values[BANDWIDTH] = Usage(total, limit=one.limits.get("max_traffic"))
                one.values[DAILY] = Usage(days[one.number].get(today, Decimal(0)))

    def _days(
        self, client: Client, batch: Sequence[_Subscription], asked: Period, until: date
    ) -> tuple[dict[str, dict[date, Decimal]], dict[str, str]]:
        """Return the traffic of each subscription by day, and why that of others is not known, by their numbers.

        A day without a row had no traffic. Whether the answer still has the day `until` is not documented, so
        that is the day after a period that is over; days outside of the period are left out here.
        """
        ids = "".join(f"<id>{one.number}</id>" for one in batch)
        span = f"<since_date>{asked.start}</since_date><to_date>{until}</to_date>"
        request = f"<webspace><get_traffic><filter>{ids}</filter>{span}</get_traffic></webspace>"
        days: dict[str, dict[date, Decimal]] = {}
        failures: dict[str, str] = {}
        told: Counter[str] = Counter()
        try:
            for result in self._ask(client, request):
                number = _text(result, "id") or _text(result, "filter-id")
                told[number] += 1
                if _text(result, "status") != "ok":
                    failures[number] = _refusal(client, result)
                    continue
                try:
                    days[number] = self._rows(result, asked)
                except ValueError as error:
                    failures[number] = str(error)
        except ProviderError as error:
            # Part of an answer that is damaged is nothing to rely on.
            return {}, {one.number: str(error) for one in batch}
        for one in batch:
            if told[one.number] != 1:
                often = "told more than once" if told[one.number] else "not told"
                failures[one.number] = f"the traffic of this subscription was {often}"
        return days, failures

    def _rows(self, result: Element, asked: Period) -> dict[date, Decimal]:
        """Return the traffic of the days of a period. Raises ValueError with the reason."""
        days: dict[date, Decimal] = {}
        for row in result.iterfind("traffic"):
            if not _DAY.fullmatch(_text(row, "date")):
                raise ValueError("a row of the traffic has no date")
            day = date.fromisoformat(_text(row, "date"))
            if day in days:
                raise ValueError(f"the traffic of {day} is told more than once")
            if day in asked:
                days[day] = exact_sum(_count(row, name) for name in self._counted)
        return days

    def _totals(self, period: Period | None) -> list[str]:
        """Return the metrics of traffic: both now, or that of a period. Raises ProviderError if it is not over."""
        if not period:
            return [BANDWIDTH, DAILY]
        if period.ends_at(self._connection.time_zone) > self._connection.as_of:
            raise ProviderError(f"The period from {period.start} to {period.end} is not over. Ask when it is.")
        return [BANDWIDTH if period == month(period.start) else DAILY]


class _Reader:
    """Reads the packets of Plesk: its results one by one, each bounded, and nothing that XML is attacked by.

    A document type is refused where it begins, before it can declare an entity.
    """

    def __init__(self) -> None:
        #: What the packet says of the version of the API.
        self.version = ""
        self._depth = self._elements = self._opened_at = 0
        self._builder: TreeBuilder | None = None
        self._results: list[Element] = []

    def read(self, body: bytes) -> Iterator[Element]:
        """Yield the elements `result` and `system` of a packet. Raises ProviderError, also between them."""
        parser = ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._text
        try:
            for start in range(0, len(body) or 1, PIECE):
                piece = body[start : start + PIECE]
                parser.Parse(piece, start + PIECE >= len(body))
                yield from self._results
                self._results.clear()
        except (ExpatError, ValueError) as error:
            start_of = body[:200].lstrip().lower()
            if start_of.startswith((b"<!doctype html", b"<html")):
                why = "it looks like a login or error page. Check the URL"
            else:
                # Neither of them holds any of the text, which may be damaged and hold the data of others.
                why = f"{error}. Check what listens there" if start_of else "it is empty. Check the URL"
            raise ProviderError(f"The answer is no packet of Plesk: {why}.") from None

    def _refuse(self, *_: object) -> None:
        raise ValueError("it has a document type")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._elements += 1
        if self._depth == 1:
            if tag != "packet":
                raise ValueError("it is another document")
            self.version = attributes.get("version", "")
        if self._depth > DEPTH or self._elements > ELEMENTS:
            raise ValueError("it is nested too deeply, or one result is too large")
        if not self._builder:
            self._elements = 0
            if tag in ("result", "system"):
                self._builder, self._opened_at = TreeBuilder(), self._depth
        if self._builder:
            self._builder.start(tag, {})

    def _end(self, tag: str) -> None:
        if self._builder:
            self._builder.end(tag)
            if self._depth == self._opened_at:
                self._results.append(self._builder.close())
                self._builder = None
        self._depth -= 1

    def _text(self, text: str) -> None:
        if self._builder:
            self._builder.data(text)


def _text(element: Element, path: str) -> str:
    return element.findtext(path) or ""


def _count(element: Element, path: str) -> Decimal:
    """Read a number. An empty element is Plesk's way to write 0. Raises ValueError with the reason."""
    if (text := element.findtext(path)) is None:
        raise ValueError(f"there is no {path} in the answer")
    return parse(text or "0")


def _add_levels(one: _Subscription, result: Element) -> None:
    for metric, (path, limit) in _LEVELS.items():
        try:
            one.values[metric] = Usage(_count(result, f"data/{path}"), limit=one.limits.get(limit))
        except ValueError as error:
            one.failures[metric] = str(error)


def _limits(result: Element) -> Iterator[tuple[str, Decimal]]:
    """Yield the limits that a subscription has; -1 is none, and what is no number is none that we know."""
    for limit in result.iterfind("data/limits/limit"):
        try:
            yield _text(limit, "name"), parse(_text(limit, "value"))
        except ValueError:
            continue


def _lies_below(name: str, names: set[str]) -> bool:
    """Say whether a site is a subdomain of another one."""
    _, _, parent = name.partition(".")
    return bool(parent) and (parent in names or _lies_below(parent, names))


def _refusal(client: Client, result: Element) -> str:
    code, said = _text(result, "errcode") or "no code", _text(result, "errtext").rstrip(". ")
    return client.quote(f"{said} ({code})")


def _some(reasons: Sequence[str]) -> str:
    """Join reasons, the first of many."""
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return "; ".join(reasons[:3]) + more
