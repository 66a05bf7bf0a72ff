"""DirectAdmin by its legacy API, with a login key of an admin or of a reseller.

One call, CMD_API_ALL_USER_USAGE, tells disk space, bandwidth and domains of all users. Counts of mailboxes
and the like need one more call per user. A key that may not use the first gets all of it user by user.

The bandwidth shown is that of the month since the last reset, without saying of which month. The reset comes
some hours late on the 1st, and on purpose: before it, the last tally of the old month is taken. `_shown` says
which month a value is believed to belong to.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import time, timedelta
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import unquote_plus

from metering.decimals import EXACT, parse, round_half_up
from metering.periods import Period, month
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
from metering.providers.http import TLS, Client, HttpError, Limits
from metering.units import ACCOUNTS, DATABASES, DOMAINS, GB, MAILBOXES, MB

MIB = 2**20
#: After so many users in a row that could not be asked for, the others are not tried.
PATIENCE = 3
#: On the 1st, a value that is seen after the reset was due and before this may be of either month.
SETTLED = time(12)

_COUNTS = (("yes", _("count them, one more call per user")), ("no", _("leave them out: one call for all users")))
#: What the answers call a metric.
_COLUMNS = {
    DISK: "quota",
    BANDWIDTH: "bandwidth",
    "domains": "vdomains",
    "mailboxes": "nemails",
    "databases": "mysql",
    "subdomains": "nsubdomains",
    "ftp_accounts": "ftp",
}
_METRICS = (
    Metric(DISK, _("Disk used"), MetricType.SNAPSHOT, MB),
    Metric(BANDWIDTH, _("Bandwidth"), MetricType.MONTH, GB),
    Metric("domains", _("Domains"), MetricType.SNAPSHOT, DOMAINS),
    Metric("users", _("Users of a reseller"), MetricType.SNAPSHOT, ACCOUNTS),
    Metric("mailboxes", _("Mailboxes"), MetricType.SNAPSHOT, MAILBOXES),
    Metric("databases", _("Databases"), MetricType.SNAPSHOT, DATABASES),
    Metric("subdomains", _("Subdomains"), MetricType.SNAPSHOT, DOMAINS),
    Metric("ftp_accounts", _("FTP accounts"), MetricType.SNAPSHOT, ACCOUNTS),
)
_BULK = 4

#: An answer by names; a name that comes twice has two values.
_Pairs = Mapping[str, Sequence[str]]
_NOTHING: _Pairs = {}


class _Refused(ProviderError):
    """The server answers, but not to this command."""


@dataclass(frozen=True, slots=True)
class _Month:
    """Which month the bandwidth belongs to that is shown now.

    `last` is the month before, if it is surely that one's. When it may be of either, `doubt` says so.
    """

    last: Period | None = None
    doubt: str = ""


@dataclass(slots=True)
class _Created:
    """How many users each reseller has, or why that is not known."""

    users: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""


class DirectAdmin(Provider):
    """Usage of the users of one server.

    - `disk_used`: the quota in use; with or without databases as the server is configured.
    - `bandwidth`: bytes since the reset of the month, as of the last tally; only what can be told by user.
    - `users`: how many users a user has created; for who created none it is 0.
    - DirectAdmin writes MiB with four decimals; they are multiplied exactly and rounded to whole bytes.
    """

    title: ClassVar[str] = "DirectAdmin"
    tenant_is: ClassVar[str] = _("the name of a user")
    resets: ClassVar[str] = _(
        "Bandwidth is counted by a nightly tally and reset on the 1st, some hours after midnight, in the server's own "
        "time zone, which must be set here as well. What is seen on the 1st before the reset goes to the month before; "
        "what is seen after it, but before noon, is only taken if it is zero. DirectAdmin cannot look back. All other "
        "values are levels."
    )
    fields: ClassVar[tuple[Field, ...]] = (
        Field("url", "URL", help="https://host:2222"),
        Field("user", _("User"), initial="admin", help=_("Who made the login key: an admin or a reseller.")),
        Field("key", _("Login key"), kind="secret"),
        Field("counts", _("Mailboxes, databases, subdomains, FTP"), "choice", initial="yes", choices=_COUNTS),
        Field(
            "reset",
            _("Reset on the 1st"),
            required=False,
            initial="01:40",
            help=_("When the server's cron resets the bandwidth, local time. Empty if it may be at any time."),
        ),
        *TLS,
    )
    can_look_back: ClassVar[bool] = False
    limits: ClassVar[Limits] = Limits(read=60, total=120)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._with_counts = _with_counts(connection.settings)

    @classmethod
    def metrics(cls, settings: Mapping[str, Any] | None = None) -> Sequence[Metric]:
        return _METRICS if _with_counts(settings or {}) else _METRICS[:_BULK]

    def check(self) -> str:
        """Return "DirectAdmin, 3 users, all in one call", or how many calls it takes."""
        self._month()
        with self._client() as http:
            asker = _Asker(http)
            users, is_bulk = asker.users()
            if self._with_counts or not is_bulk:
                asker.usage(next(iter(users)))
        number = f"{self.title}, {len(users)} user{'' if len(users) == 1 else 's'}"
        if is_bulk:
            return f"{number}, and a call for each" if self._with_counts else f"{number}, all in one call"
        return f"{number}, and two calls for each, since the key may not use CMD_API_ALL_USER_USAGE"

    def usage(self, period: Period | None = None) -> Iterator[TenantUsage]:
        """Yield every user; `period` is never given."""
        shown = self._month()
        with self._client() as http:
            asker = _Asker(http)
            users, is_bulk = asker.users()
            created = _created(asker, users)
            for user, line in users.items():
                yield self._tenant(asker, user, line, created, shown, is_bulk)
            for user, count in created.users.items():
                if user not in users and user != "root":
                    yield TenantUsage(user, {"users": Usage(Decimal(count))})
        if created.reason or asker.strays:
            named = {"users": created.reason} if created.reason else {}
            strays = {"": f"{asker.strays} lines without a user"} if asker.strays else {}
            yield TenantUsage("", {}, named | strays)
        if asker.is_cut:
            raise ProviderError("DirectAdmin's answer ends in the middle of a line. The users before it were taken.")

    def tenant_usage(self, tenant: str) -> TenantUsage:
        """Pick one user out of the one call, or ask for that user only where the key may not use it."""
        shown = self._month()
        with self._client() as http:
            asker = _Asker(http)
            users, is_bulk = asker.users()
            if tenant not in users:
                raise ProviderError(f"There is no user {tenant!r}, or the key may not see it. Check the name.")
            return self._tenant(asker, tenant, users[tenant], _created(asker, users, tenant), shown, is_bulk)

    def _client(self) -> Client:
        user = str(self._connection.settings.get("user") or "admin").strip()
        key = self._connection.credentials.get("key", "")
        if not key:
            raise ProviderError("The login key is missing. Make one in DirectAdmin, Login Keys, and enter it.")
        return Client.to(self._connection, auth=(user, key), limits=self.limits)

    def _month(self) -> _Month:
        written = str(self._connection.settings.get("reset") or "").strip()
        if written and not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", written, re.ASCII):
            raise ProviderError(f"{written[:20]!r} is no time of the reset. Write it as 01:40.")
        now = self._connection.as_of.astimezone(self._connection.time_zone)
        if now.day > 1:
            return _Month()
        if written and now.time() < time.fromisoformat(written):
            return _Month(last=month(now.date() - timedelta(days=1)))
        if now.time() < SETTLED:
            return _Month(
                doubt="on the 1st it may still be the month before's, until the server has reset it; "
                "it is taken again when it is 0, or after noon"
            )
        return _Month()

    def _tenant(
        self, asker: "_Asker", user: str, line: _Pairs, created: _Created, shown: _Month, is_bulk: bool
    ) -> TenantUsage:
        metrics = [metric.system_name for metric in self.metrics(self._connection.settings)]
        reason, limits = "", _NOTHING
        if not is_bulk or any(column not in line for name in metrics[_BULK:] if (column := _COLUMNS[name])):
            line, reason = asker.more(user, line)
        if not is_bulk and not reason:
            limits = asker.limits(user)
        values, failures = dict[str, Usage](), dict[str, str]()
        for name in metrics:
            if name == "users":
                if not created.reason:
                    values[name] = Usage(Decimal(created.users.get(user, 0)))
                continue
            column = _COLUMNS[name]
            if column not in line:
                if reason:
                    failures[name] = reason
                continue
            try:
                usage, fault = _read(name, line[column], limits.get(column, ()))
                if name == BANDWIDTH and usage.value and shown.doubt:
                    raise ValueError(shown.doubt)
            except ValueError as error:
                failures[name] = str(error)
                continue
            if fault:
                failures[name] = f"its limit: {fault}"
            if name == BANDWIDTH and usage.value and shown.last:
                # A zero says nothing of the month before: it may have been reset already. It is true of this one.
                usage = Usage(usage.value, start=shown.last.start, end=shown.last.end, limit=usage.limit)
            values[name] = usage
        return TenantUsage(user, values, failures)


class _Asker:
    """Asks the commands, and knows when to give up."""

    def __init__(self, http: Client) -> None:
        self._http = http
        self._failed, self._reason = 0, ""
        #: Lines of the one call that name no user, and whether the last one broke off.
        self.strays, self.is_cut = 0, False

    def users(self) -> tuple[Mapping[str, _Pairs], bool]:
        """Return all users with what one call tells of them, and whether there was such a call."""
        try:
            text = self._ask("CMD_API_ALL_USER_USAGE")
        except _Refused as refused:
            return dict.fromkeys(self._all_users(refused), _NOTHING), False
        found: dict[str, dict[str, list[str]]] = defaultdict(dict)
        lines = [line for line in text.splitlines() if line.strip()]
        self.is_cut = _is_cut(text, lines)
        if self.is_cut:
            lines.pop()
        for line in lines:
            user, _, rest = line.partition("=")
            self.strays += not rest
            pairs = _pairs(rest)
            if "vdomains" not in pairs and len(names := pairs.get("list") or []) == 1:
                pairs["vdomains"] = [str(sum(bool(name.strip()) for name in names[0].split("<br>")))]
            for name, values in pairs.items():
                found[_plain(user)].setdefault(name, []).extend(values)
        if not found:
            raise ProviderError(
                "DirectAdmin's answer to CMD_API_ALL_USER_USAGE names no user. Check what the key's owner may see."
            )
        return found, True

    def more(self, user: str, line: _Pairs) -> tuple[_Pairs, str]:
        """Return what is known of a user with all that only a call for this user tells, or why that failed."""
        if self._failed < PATIENCE:
            try:
                said = self.usage(user)
            except ProviderError as error:
                self._failed, self._reason = self._failed + 1, str(error)
                return line, self._reason
            self._failed = 0
            return {**said, **line}, ""
        return line, self._reason

    def usage(self, user: str) -> _Pairs:
        said = _pairs(self._ask("CMD_API_SHOW_USER_USAGE", user=user))
        if not said.keys() & set(_COLUMNS.values()):
            raise _Refused(f"DirectAdmin's answer to CMD_API_SHOW_USER_USAGE tells no usage of {user!r}.")
        return said

    def limits(self, user: str) -> _Pairs:
        """Return the limits of a user; none when the key may not ask."""
        try:
            return _pairs(self._ask("CMD_API_SHOW_USER_CONFIG", user=user))
        except ProviderError:
            return {}

    def listed(self, command: str, **params: str) -> Sequence[str]:
        return _pairs(self._ask(command, **params)).get("list[]", ())

    def _all_users(self, refused: _Refused) -> Sequence[str]:
        """Return the names of all users that an admin, or else a reseller, may see."""
        for command in ("CMD_API_SHOW_ALL_USERS", "CMD_API_SHOW_USERS"):
            try:
                if users := self.listed(command):
                    return users
            except _Refused:
                continue
        raise refused

    def _ask(self, command: str, **params: str) -> str:
        """Return what a command answers. Raises _Refused when it is not for this key, else ProviderError."""
        try:
            body = self._http.get(f"/{command}", params or None)
        except HttpError as error:
            if error.status in (403, 404):
                raise _Refused(f"{error} Is {command} among the commands that the key allows?") from None
            raise
        text = body.decode(errors="replace").lstrip()
        if text.startswith("<"):
            raise _Refused(
                f"DirectAdmin shows a web page instead of answering {command}. Check the user name and the key, and "
                f"that {command} is among the commands that it allows."
            )
        if re.match(r"error=[1-9][0-9]*(&|$)", text, re.ASCII):
            said = _pairs(text)
            words = ". ".join(word for name in ("text", "details") for word in said.get(name, ()) if word)
            raise _Refused(f"DirectAdmin refuses {command}: {self._http.quote(words).rstrip('.')}.")
        return text


def _is_cut(text: str, lines: Sequence[str]) -> bool:
    """Say whether the last line broke off before or in what the first line has; later in it, it does not matter."""
    if text.endswith("\n") or len(lines) < 2:
        return False
    read = {"quota", "bandwidth", "vdomains"}
    first, last = (list(_pairs(line.partition("=")[2])) for line in (lines[0], lines[-1]))
    return bool(read & set(first) - set(last)) or (last[-1] in read and last[-1] != first[-1])


def _created(asker: _Asker, users: Mapping[str, _Pairs], only: str | None = None) -> _Created:
    """Count the users of each reseller, or of one: by what the one call tells, else by a call for each."""
    creators = [line["creator"] for line in users.values() if len(line.get("creator", ())) == 1]
    if len(creators) == len(users):
        return _Created(Counter(name for (name,) in creators))
    try:
        resellers = [each for each in asker.listed("CMD_API_SHOW_RESELLERS") if only in (None, each)]
        return _Created({each: len(asker.listed("CMD_API_SHOW_USERS", reseller=each)) for each in resellers})
    except ProviderError as error:
        return _Created(reason=str(error))


def _pairs(text: str) -> dict[str, list[str]]:
    """Read `a=1&b=2`. Old versions write signs as `&#47`, where the ampersand divides nothing."""
    found: dict[str, list[str]] = defaultdict(list)
    for pair in re.split(r"&(?!#[0-9])", text):
        name, is_pair, value = pair.partition("=")
        if is_pair:
            found[_plain(name)].append(_plain(value))
    return dict(found)


def _plain(text: str) -> str:
    return unquote_plus(re.sub(r"&#([0-9]{2});?", lambda found: chr(int(found[1])), text))


def _read(metric: str, values: Iterable[str], limits: Iterable[str]) -> tuple[Usage, str]:
    """Read `used` or `used / limit`. Returns what is wrong with the limit as well; it does not cost the value.

    Raises ValueError when the value cannot be read.
    """
    text, *others = values
    if others:
        raise ValueError("it comes twice in the answer")
    used, _, most = (part.strip() for part in text.partition("/"))
    read = _bytes if metric in (DISK, BANDWIDTH) else _count
    value = read(used)
    for limit in (most, *limits):
        if limit and limit != "unlimited":
            try:
                return Usage(value, limit=read(limit)), ""
            except ValueError as error:
                return Usage(value), str(error)
    return Usage(value), ""


def _bytes(text: str) -> Decimal:
    return round_half_up(EXACT.multiply(parse(text, places=40), Decimal(MIB)), 0)


def _count(text: str) -> Decimal:
    value = parse(text)
    if value % 1:
        raise ValueError(f"{text} is not a whole number")
    return value


def _with_counts(settings: Mapping[str, Any]) -> bool:
    return settings.get("counts") != "no"
