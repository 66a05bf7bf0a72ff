"""cPanel & WHM by WHM API 1, with a token of root or of a reseller; a reseller's sees its own accounts only.

Five calls answer for all accounts of a server, and mailboxes need one more per CHUNK accounts. Only the
list of accounts must come: any other function that is refused costs its own metrics and nothing else.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import urlencode

from metering.decimals import EXACT, parse
from metering.periods import Period, local_day, month
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
from metering.providers.http import TLS, Client, Limits
from metering.units import ACCOUNTS, DATABASES, DOMAINS, GB, MAILBOXES, MB, Unit

#: Accounts whose mailboxes are asked for in one call: WHM reads the files of each as that user.
#: The text of the choice below says the number.
CHUNK = 50
KIB = 1024

_MAILBOXES = (("yes", _("count them, 50 accounts per call")), ("no", _("leave them out")))
_METRICS = (
    Metric(DISK, _("Disk used"), MetricType.SNAPSHOT, MB),
    Metric("inodes", _("Files and directories"), MetricType.SNAPSHOT, Unit("inodes", _("inode"), _("inodes"))),
    Metric(BANDWIDTH, _("Bandwidth"), MetricType.MONTH, GB),
    Metric("databases", _("MySQL databases"), MetricType.SNAPSHOT, DATABASES),
    Metric("subdomains", _("Subdomains"), MetricType.SNAPSHOT, DOMAINS),
    Metric("addon_domains", _("Addon domains"), MetricType.SNAPSHOT, DOMAINS),
    Metric("parked_domains", _("Parked domains"), MetricType.SNAPSHOT, DOMAINS),
    Metric("sub_accounts", _("Accounts of a reseller"), MetricType.SNAPSHOT, ACCOUNTS),
    Metric("mailboxes", _("Mailboxes"), MetricType.SNAPSHOT, MAILBOXES),
)
#: What domains of a type are called here, and where listaccts has the limit.
_DOMAINS = {
    "subdomains": ("sub", "maxsub"),
    "addon_domains": ("addon", "maxaddons"),
    "parked_domains": ("parked", "maxparked"),
}
_UNLIMITED = (None, "", "unlimited", "unknown", "*unknown*")
_WANT = {"want": "user,owner,maxpop,maxsql,maxsub,maxaddons,maxparked"}

_Row = Mapping[str, Any]


@dataclass(slots=True)
class _Answer:
    """The rows of one function by user, or the reason why there are none."""

    rows: Mapping[str, list[_Row]] = field(default_factory=dict)
    reason: str = ""


@dataclass(slots=True)
class _Server:
    """What the functions said of all accounts, or of one."""

    accounts: _Answer
    owned: _Answer
    disk: _Answer
    bandwidth: _Answer
    domains: _Answer
    databases: _Answer

    def strays(self) -> TenantUsage | None:
        """Return what came without the name of an account."""
        named = {
            "listaccts": self.accounts,
            "get_disk_usage": self.disk,
            "showbw": self.bandwidth,
            "get_domain_info": self.domains,
            "list_databases": self.databases,
        }
        found = {
            name: f"{len(rows)} rows without a user" for name, said in named.items() if (rows := said.rows.get(""))
        }
        return TenantUsage("", {}, found) if found else None


@dataclass(slots=True)
class _Found:
    """The values of one account as they are read, and what could not be."""

    user: str
    values: dict[str, Usage] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def level(
        self, metric: str, said: _Answer, value: str, limit: str, factor: int = 1, period: Period | None = None
    ) -> None:
        """Take a value and its quota out of two columns; a quota of 0 is none."""
        rows = said.rows.get(self.user, ())
        if said.reason or len(rows) > 1:
            self.failures[metric] = said.reason or f"WHM lists it {len(rows)} times, perhaps once as deleted"
        elif rows:
            self.put(metric, rows[0].get(value), rows[0].get(limit), factor, (*_UNLIMITED, 0, "0"), period)

    def count(self, metric: str, reason: str, count: int | None, limit: Any = None) -> None:
        """Take a count, unless there is a reason why it could not be made; here a limit of 0 is one."""
        if reason:
            self.failures[metric] = reason
        else:
            self.put(metric, count, limit)

    def put(
        self,
        metric: str,
        value: Any,
        limit: Any,
        factor: int = 1,
        unlimited: tuple[Any, ...] = _UNLIMITED,
        period: Period | None = None,
    ) -> None:
        """Read a value, if there is one. A limit that cannot be read does not cost the value."""
        if value is None:
            return
        try:
            used, most = EXACT.multiply(_number(value), Decimal(factor)), None
        except ValueError as error:
            self.failures[metric] = str(error)
            return
        try:
            most = None if limit in unlimited else EXACT.multiply(_number(limit), Decimal(factor))
        except ValueError as error:
            self.failures[metric] = f"its limit: {error}"
        start, end = (period.start, period.end) if period else (None, None)
        self.values[metric] = Usage(used, start=start, end=end, limit=most)

    def usage(self) -> TenantUsage:
        return TenantUsage(self.user, self.values, self.failures)


class WHM(Provider):
    """Usage of the accounts of one server.

    - `disk_used`, `inodes`: what the quota system counts, from WHM's cache of it.
    - `bandwidth`: bytes of the calendar month; of deleted accounts too, which have no other values.
    - `databases`: those of MySQL and MariaDB; PostgreSQL's are not counted.
    - `sub_accounts`: the accounts that an account owns, without itself; 0 for who is no reseller.
    """

    title: ClassVar[str] = "cPanel & WHM"
    tenant_is: ClassVar[str] = _("the user name of an account")
    resets: ClassVar[str] = _(
        "Bandwidth is that of the calendar month in the server's own time zone, which must be set here as well. WHM "
        "counts it from logs, up to a day late, so the month before is asked for again at the start of a month. All "
        "other values are levels; disk space comes from WHM's quota cache and may lag some hours."
    )
    fields: ClassVar[tuple[Field, ...]] = (
        Field("url", "URL", help="https://host:2087"),
        Field("user", _("User"), initial="root", help=_("Who made the token: root or a reseller.")),
        Field("token", _("API token"), kind="secret", help=_("WHM » Development » Manage API Tokens.")),
        Field("mailboxes", _("Mailboxes"), "choice", initial="yes", choices=_MAILBOXES),
        *TLS,
    )
    can_look_back: ClassVar[bool] = True
    limits: ClassVar[Limits] = Limits(read=60, total=120, size=64 * 2**20)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._counts_mailboxes = _counts_mailboxes(connection.settings)

    @classmethod
    def metrics(cls, settings: Mapping[str, Any] | None = None) -> Sequence[Metric]:
        return _METRICS if _counts_mailboxes(settings or {}) else _METRICS[:-1]

    def check(self) -> str:
        """Return "cPanel & WHM 11.138.0.6, 3 accounts"."""
        with self._client() as http:
            accounts = ACCOUNTS.write(Decimal(len(_call(http, "listaccts", "acct", {"want": "user"}))))
            version = ""
            with suppress(ProviderError):  # not every token may ask
                match http.read_json(http.get("/json-api/version", {"api.version": "1"})):
                    case {"data": {"version": str(said)}}:
                        version = f" {http.quote(said)}"
        return f"{self.title}{version}, {accounts}"

    def usage(self, period: Period | None = None) -> Iterator[TenantUsage]:
        """Yield every account. Of a month that is over, only bandwidth; of a day, nothing."""
        today = local_day(self._connection.as_of, self._connection.time_zone)
        if period and period.end > today:
            raise ProviderError(f"The period from {period.start} to {period.end} is not over. Ask when it is.")
        if period and period != month(period.start):
            return
        with self._client() as http:
            if period:
                yield from _closed(http, period)
                return
            server = _ask_all(http, month(today))
            mail = _Mail(http) if self._counts_mailboxes else None
            users = [user for user in server.accounts.rows if user]
            for start in range(0, len(users), CHUNK):
                chunk = users[start : start + CHUNK]
                mailboxes = mail.count(chunk) if mail else {}
                for user in chunk:
                    yield _tenant(user, server, mailboxes.get(user))
            for user in server.bandwidth.rows:
                if user and user not in server.accounts.rows:
                    yield _bandwidth_only(user, server.bandwidth)
            if strays := server.strays():
                yield strays

    def tenant_usage(self, tenant: str) -> TenantUsage:
        """Ask for one account; one that was deleted has the bandwidth of this month."""
        today = local_day(self._connection.as_of, self._connection.time_zone)
        with self._client() as http:
            server = _ask_one(http, month(today), tenant)
            if tenant and tenant in server.accounts.rows:
                mail = _Mail(http).count([tenant]) if self._counts_mailboxes else {}
                return _tenant(tenant, server, mail.get(tenant))
        if tenant and tenant in server.bandwidth.rows:
            return _bandwidth_only(tenant, server.bandwidth)
        raise ProviderError(f"There is no account {tenant!r}, or the token may not see it. Check its user name.")

    def _client(self) -> Client:
        user = str(self._connection.settings.get("user") or "root").strip()
        # What is pasted from WHM's access hash is broken into lines.
        token = "".join(self._connection.credentials.get("token", "").split())
        if not token:
            raise ProviderError("The API token is missing. Make one in WHM, Manage API Tokens, and enter it.")
        headers = {"Authorization": f"whm {user}:{token}"}
        return Client.to(self._connection, headers=headers, secrets=[token], limits=self.limits)


@dataclass(slots=True)
class _Mail:
    """Counts mailboxes by `batch`. After two calls in a row that failed as a whole it asks no more."""

    http: Client
    failed: int = 0
    reason: str = ""

    def count(self, users: Sequence[str]) -> Mapping[str, int | str]:
        """Return the number of mailboxes of each account, or the reason why it is not known."""
        if self.failed < 2:
            try:
                results = self._ask(users)
            except ProviderError as error:
                self.failed, self.reason = self.failed + 1, str(error)
            else:
                self.failed = 0
                return dict(zip(users, results, strict=True))
        return dict.fromkeys(users, self.reason)

    def _ask(self, users: Sequence[str]) -> list[int | str]:
        commands = [("command", "list_pops_for?" + urlencode({"user": user})) for user in users]
        query = urlencode([("api.version", "1"), ("abort_on_error", "0"), *commands])
        answer = self.http.read_json(self.http.get(f"/json-api/batch?{query}"))
        # The result of the whole is 0 as soon as one command is refused.
        match answer:
            case {"data": {"result": list(results)}} if len(results) == len(users):
                return [self._count(result) for result in results]
        raise ProviderError(_refusal(self.http, "batch", answer))

    def _count(self, result: Any) -> int | str:
        match result:
            case {"metadata": {"result": 1 | "1"}, "data": {"pops": list(pops)}}:
                return len(pops)
        return _refusal(self.http, "list_pops_for", result)


def _ask_all(http: Client, this_month: Period) -> _Server:
    accounts = _call(http, "listaccts", "acct", _WANT)
    return _Server(
        accounts=_Answer(_by(accounts, "user")),
        owned=_Answer(_by(accounts, "owner")),
        disk=_answer(http, "get_disk_usage", "accounts"),
        bandwidth=_bandwidth(http, this_month),
        domains=_answer(http, "get_domain_info", "domains", _columns("user", "domain_type")),
        databases=_answer(http, "list_databases", "payload", _columns("cpuser", "engine"), user="cpuser"),
    )


def _ask_one(http: Client, this_month: Period, user: str) -> _Server:
    exact = {**_WANT, "searchmethod": "exact", "search": user}
    columns = _columns("cpuser", "engine")
    return _Server(
        accounts=_Answer(_by(_call(http, "listaccts", "acct", {**exact, "searchtype": "user"}), "user")),
        owned=_answer(http, "listaccts", "acct", {**exact, "searchtype": "owner"}, user="owner"),
        disk=_answer(http, "get_disk_usage", "accounts", _only("user", user)),
        # A pattern that is looked for anywhere in the name: unanchored, alice is alice2 as well.
        bandwidth=_bandwidth(http, this_month, {"searchtype": "user", "search": f"^{re.escape(user)}$"}),
        domains=_answer(http, "get_domain_info", "domains", _only("user", user)),
        databases=_answer(http, "list_databases", "payload", _only("cpuser", user) | columns, user="cpuser"),
    )


def _columns(*names: str) -> dict[str, str]:
    return {"api.columns.enable": "1"} | {f"api.columns.{'abc'[at]}": name for at, name in enumerate(names)}


def _only(name: str, value: str) -> dict[str, str]:
    where = "api.filter.a."
    return {"api.filter.enable": "1", f"{where}field": name, f"{where}type": "eq", f"{where}arg0": value}


def _call(http: Client, function: str, rows: str, params: Mapping[str, str] | None = None) -> list[Any]:
    """Return the rows with which a function answers. Raises ProviderError."""
    return _read(http, function, rows, _fetch(http, function, params or {}))


def _fetch(http: Client, function: str, params: Mapping[str, str]) -> Any:
    return http.read_json(http.get(f"/json-api/{function}", {"api.version": "1", **params}))


def _read(http: Client, function: str, rows: str, answer: Any) -> list[Any]:
    match answer:
        case {"metadata": {"result": 1 | "1"}, "data": dict(data)} if isinstance(found := data.get(rows), list):
            return found
    raise ProviderError(_refusal(http, function, answer))


def _refusal(http: Client, function: str, answer: Any) -> str:
    """Say why an answer is none, in the words of WHM where it has some."""
    match answer:
        case {"metadata": {"result": 0 | "0", "reason": str(said)}} | {"cpanelresult": {"error": str(said)}}:
            said = http.quote(said).rstrip(".")
            return f"WHM refuses {function}: {said}. Check the account and the privileges of the token."
    return f"WHM did not answer {function} as its documentation says. Check that the URL is that of WHM, port 2087."


def _answer(
    http: Client, function: str, rows: str, params: Mapping[str, str] | None = None, *, user: str = "user"
) -> _Answer:
    try:
        return _Answer(_by(_call(http, function, rows, params), user))
    except ProviderError as error:
        return _Answer(reason=str(error))


def _bandwidth(http: Client, of: Period, search: Mapping[str, str] | None = None) -> _Answer:
    """Ask for the bandwidth of a month, named, so that neither clock decides which one it is."""
    asked = {"year": str(of.start.year), "month": str(of.start.month)}
    try:
        answer = _fetch(http, "showbw", {**asked, **(search or {})})
        rows = _read(http, "showbw", "acct", answer)
        if (told := {name: str(answer["data"].get(name, asked[name])) for name in asked}) != asked:
            told_month = http.quote(f"{told['year']}-{told['month']}")
            raise ProviderError(f"WHM was asked for the bandwidth of {of.start:%Y-%m} and answered with {told_month}.")
        return _Answer(_by(rows, "user"))
    except ProviderError as error:
        return _Answer(reason=str(error))


def _by(rows: Iterable[Any], name: str) -> Mapping[str, list[_Row]]:
    """Sort rows by the name that they have in a column, those without one under an empty name."""
    found: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        user = row.get(name) if isinstance(row, dict) else None
        found[user if isinstance(user, str) else ""].append(row)
    return dict(found)


def _closed(http: Client, period: Period) -> Iterator[TenantUsage]:
    said = _bandwidth(http, period)
    if said.reason:
        raise ProviderError(said.reason)
    for user in said.rows:
        if user:
            yield _bandwidth_only(user, said, period)
    if rows := said.rows.get(""):
        yield TenantUsage("", {}, {BANDWIDTH: f"{len(rows)} rows without a user"})


def _bandwidth_only(user: str, said: _Answer, period: Period | None = None) -> TenantUsage:
    """Return what is known of an account that is not listed any more, or of a month that is over."""
    found = _Found(user)
    found.level(BANDWIDTH, said, "totalbytes", "limit", period=period)
    return found.usage()


def _tenant(user: str, server: _Server, mailboxes: int | str | None) -> TenantUsage:
    if len(rows := server.accounts.rows[user]) > 1:
        return TenantUsage(user, {}, {metric.system_name: f"WHM lists it {len(rows)} times" for metric in _METRICS})
    account, found = rows[0], _Found(user)
    found.level(DISK, server.disk, "blocks_used", "blocks_limit", KIB)
    found.level("inodes", server.disk, "inodes_used", "inodes_limit")
    found.level(BANDWIDTH, server.bandwidth, "totalbytes", "limit")
    domains = server.domains.rows.get(user, ())
    for metric, (kind, most) in _DOMAINS.items():
        # Who has not even a main domain was not told about.
        count = sum(row.get("domain_type") == kind for row in domains) if domains else None
        found.count(metric, server.domains.reason, count, account.get(most))
    databases = sum(row.get("engine") == "mysql" for row in server.databases.rows.get(user, ()))
    found.count("databases", server.databases.reason, databases, account.get("maxsql"))
    owned = sum(row.get("user") != user for row in server.owned.rows.get(user, ()))
    found.count("sub_accounts", server.owned.reason, owned)
    if isinstance(mailboxes, str):
        found.count("mailboxes", mailboxes, None)
    else:
        found.count("mailboxes", "", mailboxes, account.get("maxpop"))
    return found.usage()


def _number(value: Any) -> Decimal:
    """Read a number, which old versions write as text. Raises ValueError for anything else."""
    return parse(str(value))


def _counts_mailboxes(settings: Mapping[str, Any]) -> bool:
    return settings.get("mailboxes") != "no"
