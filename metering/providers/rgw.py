"""The object gateway of Ceph (RADOS Gateway, RGW): what the buckets of each user hold, and their traffic by month.

Two calls of its admin API answer for all users: the statistics of every bucket, and the usage log. The log counts
in whole hours of UTC. An hour belongs to the month in which it begins, on the clocks of the server's time zone, so
that no hour is in two months or in none.
"""

import hmac
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from hashlib import sha256
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote

import httpx2

from metering.periods import Period, local_day
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
from metering.providers.http import TLS, Client, HttpError, Limits, parse_json
from metering.units import GB, Unit

#: Under this name the gateway counts unsigned requests that were for no bucket: probes of load balancers, mostly.
ANONYMOUS = "anonymous"
#: How far back the log is searched for a sign that it is kept at all, when it has nothing of a period.
PROOF = timedelta(days=31)
#: Values have at most this many digits.
DIGITS = 18

_HOUR = timedelta(hours=1)
_LOG_IS_EMPTY = (
    "the usage log has no line of any user in 31 days: either nobody used the gateway, or the log is off. "
    "Set rgw_enable_usage_log = true and restart the gateway"
)
_QUOTAS = (
    ("buckets", _("of buckets: their sum, where each bucket of a user has one")),
    ("users", _("of users: one more call for each user")),
    ("none", _("not asked for")),
)
_METRICS = (
    Metric(DISK, _("Storage"), MetricType.SNAPSHOT, GB),
    Metric("objects", _("Objects"), MetricType.SNAPSHOT, Unit("objects", _("object"), _("objects"))),
    Metric(BANDWIDTH, _("Traffic out"), MetricType.MONTH, GB),
    Metric("ingress", _("Traffic in"), MetricType.MONTH, GB),
    Metric("operations", _("Operations"), MetricType.MONTH, Unit("operations", _("operation"), _("operations"))),
)
_LEVELS = (DISK, "objects")
_TRAFFIC = {BANDWIDTH: "bytes_sent", "ingress": "bytes_received", "operations": "successful_ops"}


class SigV4(httpx2.Auth):
    """Signs requests as AWS Signature Version 4 has it, for the service `s3`.

    A signature says when it was made, by the clock of this machine: the gateway refuses one that is 15 minutes off.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    """

    requires_request_body = True

    def __init__(self, access_key: str, secret_key: str, region: str = "us-east-1") -> None:
        self._access_key, self._secret_key, self._region = access_key, secret_key, region

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        self.sign(request, datetime.now(UTC))
        yield request

    def sign(self, request: httpx2.Request, at: datetime) -> None:
        moment, digest = f"{at:%Y%m%dT%H%M%SZ}", sha256(request.content).hexdigest()
        request.headers["x-amz-date"], request.headers["x-amz-content-sha256"] = moment, digest
        path, _, query = request.url.raw_path.decode().partition("?")
        # However the query was written, a space as plus for example, it is signed in the one canonical form.
        pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in parse_qsl(query, True))
        signed = {name: request.headers[name] for name in ("host", "x-amz-content-sha256", "x-amz-date")}
        names = ";".join(signed)
        headers = "".join(f"{name}:{value}\n" for name, value in signed.items())
        canonical = "\n".join(
            [request.method, path, "&".join(f"{name}={value}" for name, value in pairs), headers, names, digest]
        )
        scope = f"{at:%Y%m%d}/{self._region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{self._secret_key}".encode()
        for word in scope.split("/"):
            key = hmac.digest(key, word.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        request.headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )


@dataclass(slots=True)
class _Storage:
    """What the buckets of one user add up to, or why that is not known."""

    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_LEVELS, 0))
    quotas: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_LEVELS, 0))
    reason: str = ""

    def add(self, bucket: Mapping[str, Any]) -> None:
        usage, quota = bucket.get("usage"), _quota(bucket.get("bucket_quota"))
        if not isinstance(usage, dict):
            raise ValueError("it has no usage")
        # rgw.none is what the index has not sorted yet; uploads in parts that go on are in rgw.main already.
        for stats in [stats for category, stats in usage.items() if category != "rgw.none"]:
            self.sizes[DISK] += _number(stats, "size")
        if "rgw.main" in usage:
            self.sizes["objects"] += _number(usage["rgw.main"], "num_objects")
        self.quotas = {name: known + quota[name] for name, known in self.quotas.items() if name in quota}


#: By user: their traffic by metric, or why it is not known.
_Traffic = dict[str, dict[str, int] | str]


class RGW(Provider):
    """Usage of the users of one gateway, or of all gateways of its zone, which keep one log.

    - `disk_used`: the sizes of all objects, in bytes, as clients see them: before compression, erasure code and
      replicas. Old versions of objects count, and so do the parts of uploads that were never completed.
    - `objects`: how many they are; a version is an object, and so is a part of an upload that goes on.
    - `bandwidth`, `ingress`: bytes of bodies that were sent to clients and received from them. Whoever asks, a
      bucket's traffic is its owner's. Answers to requests that failed are sent, too.
    - `operations`: requests that succeeded.

    A user without buckets who sent no request this month is not seen: listing users would take a right by which
    their secret keys can be read.
    """

    title: ClassVar[str] = "Ceph object gateway (RGW)"
    tenant_is: ClassVar[str] = _("a user ID, as tenant$user where users have tenants")
    resets: ClassVar[str] = _(
        "Traffic and operations begin anew with the calendar month in the time zone of the server, in whole hours of "
        "UTC: where zones have half hours, the hour across midnight counts for the month in which it began. They are "
        "half a minute late, and a month can be asked for again until its log is trimmed. Storage and objects are as "
        "of now."
    )
    fields: ClassVar[tuple[Field, ...]] = (
        Field("url", "URL", help=_("https://s3.example.com, where the admin API answers below /admin.")),
        Field("access_key", _("Access key"), help=_("Of a user of its own with --caps='usage=read;buckets=read'.")),
        Field("secret_key", _("Secret key"), "secret"),
        Field("quotas", _("Quotas"), "choice", initial="buckets", choices=_QUOTAS),
        *TLS,
    )
    can_look_back: ClassVar[bool] = True
    #: The statistics of a bucket take some 900 bytes, and the gateway collects them before it answers.
    limits: ClassVar[Limits] = Limits(read=60, total=300, size=64 * 2**20)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._quotas = str(connection.settings.get("quotas") or "buckets")

    @classmethod
    def metrics(cls, settings: Mapping[str, Any] | None = None) -> Sequence[Metric]:
        return _METRICS

    def check(self) -> str:
        """Return how many buckets there are and how many users the log has: both rights are tried."""
        with self._client() as http:
            buckets = _ask(http, "/admin/bucket", {})
            if not isinstance(buckets, list):
                raise ProviderError("The server answers, but not as the admin API of Ceph's gateway does. Check it.")
            _, end = self._month()
            users = self._summary(http, end - PROOF, end)
        answer = f"Ceph object gateway, buckets: {len(buckets)}"
        if not users:
            return f"{answer}. Mind that {_LOG_IS_EMPTY}."
        return f"{answer}, users in the log of 31 days: {len(users.keys() - {ANONYMOUS, ''})}"

    def usage(self, period: Period | None = None) -> Iterator[TenantUsage]:
        """Yield every user. Raises ProviderError for a period that is not over, too."""
        return self._past(period) if period else self._current({})

    def tenant_usage(self, tenant: str) -> TenantUsage:
        # An empty uid would ask for everybody.
        found = next((said for said in self._current({"uid": tenant}) if said.tenant == tenant != ""), None)
        if found is None:
            raise ProviderError(
                f"The gateway has neither buckets nor traffic of this month of {tenant!r}. Check the name; "
                "a user of a tenant is called tenant$user."
            )
        return found

    def _client(self) -> Client:
        settings, credentials = self._connection.settings, self._connection.credentials
        access, secret = str(settings.get("access_key") or ""), credentials.get("secret_key", "")
        if not (access and secret and access.isascii() and access.isprintable()):
            raise ProviderError("The access key or the secret key is missing, or is not plain ASCII. Enter both.")
        return Client.to(self._connection, auth=SigV4(access, secret), secrets=[access, secret], limits=self.limits)

    def _month(self) -> tuple[datetime, datetime]:
        """Return the hours between which the current month lies so far."""
        as_of, zone = self._connection.as_of, self._connection.time_zone
        return _hour(_midnight(local_day(as_of, zone).replace(day=1), zone)), _hour(as_of)

    def _past(self, period: Period) -> Iterator[TenantUsage]:
        zone = self._connection.time_zone
        if _midnight(period.end, zone) > self._connection.as_of:
            raise ProviderError(f"The period from {period.start} to {period.end} is not over. Ask when it is.")
        if period.days == 1:
            return  # nothing is counted by the day
        with self._client() as http:
            users = self._summary(http, _hour(_midnight(period.start, zone)), _hour(_midnight(period.end, zone)))
        for user, said in users.items():
            if user != ANONYMOUS:
                yield _traffic_of(user, said, period)

    def _current(self, only: Mapping[str, str]) -> Iterator[TenantUsage]:
        storage, traffic, refused = dict[str, _Storage](), _Traffic(), dict[str, str]()
        with self._client() as http:
            try:
                storage = _storage(_ask(http, "/admin/bucket", {"stats": "True", **only}))
            except ProviderError as error:
                refused = dict.fromkeys(_LEVELS, str(error))
            start, end = self._month()
            try:
                traffic = self._summary(http, start, end, only)
                is_kept = bool(traffic or self._summary(http, start - PROOF, end))
                refused |= {} if is_kept else dict.fromkeys(_TRAFFIC, _LOG_IS_EMPTY)
            except ProviderError as error:
                if refused:
                    raise
                refused = dict.fromkeys(_TRAFFIC, str(error))
            for user in dict.fromkeys([*storage, *traffic]):
                if user == ANONYMOUS:
                    continue
                limits = storage[user].quotas if user in storage and self._quotas == "buckets" else {}
                reasons = dict(refused)
                if self._quotas == "users" and user and "quota" not in refused:
                    try:
                        limits = _quota(_ask(http, "/admin/user", {"quota": "", "quota-type": "user", "uid": user}))
                    except HttpError as error:
                        reasons["quota"] = str(error)
                    except ProviderError as error:
                        # What the gateway says of one user, it says of all: the right is missing.
                        reasons["quota"] = refused["quota"] = str(error)
                yield _current_of(user, storage, traffic, limits, reasons)

    def _summary(self, http: Client, start: datetime, end: datetime, only: Mapping[str, str] | None = None) -> _Traffic:
        """Return the traffic of the hours that begin in `[start, end)`, by user."""
        # A time that the gateway cannot read is no time for it: it would answer for all that it has.
        span = {"start": f"{start:%Y-%m-%d %H:%M:%S}", "end": f"{end:%Y-%m-%d %H:%M:%S}"}
        answer = _ask(http, "/admin/usage", {**span, "show-entries": "False", **(only or {})})
        rows = answer.get("summary") if isinstance(answer, dict) else None
        if not isinstance(rows, list):
            raise ProviderError("The answer is not that of the usage log of Ceph's gateway. Check the URL.")
        users = _Traffic()
        for row in rows:
            user = row.get("user") if isinstance(row, dict) else None
            name = user if isinstance(user, str) else ""
            try:
                if name in users:
                    raise ValueError("it is there twice")
                users[name] = {metric: _number(row.get("total"), key) for metric, key in _TRAFFIC.items()}
            except (ValueError, AttributeError) as error:
                users[name] = f"A line of the usage log cannot be used: {error}."
        return users


def _ask(http: Client, path: str, params: Mapping[str, str]) -> Any:
    try:
        return http.read_json(http.get(path, {"format": "json", **params}))
    except HttpError as error:
        answer: Any = None
        with suppress(ProviderError):
            answer = parse_json(error.body)
        code = answer.get("Code") if isinstance(answer, dict) else None
        match code:
            case "SignatureDoesNotMatch":
                advice = "The secret key is not that of the access key. Enter both again."
            case "InvalidAccessKeyId":
                advice = "No user has this access key. Enter it again."
            case "RequestTimeTooSkewed":
                advice = "Its clock and that of this machine are more than 15 minutes apart. Set them."
            case "AccessDenied":
                right = {"/admin/usage": "usage=read", "/admin/bucket": "buckets=read"}.get(path, "users=read")
                advice = f"The user may not ask this: radosgw-admin caps add --uid=… --caps='{right}'."
            case "NoSuchBucket":
                advice = "The admin API is off. Add admin to rgw_enable_apis, or ask another gateway."
            case _:
                raise
        raise ProviderError(f"{path} was refused ({code}). {advice}") from None


def _storage(answer: Any) -> dict[str, _Storage]:
    """Add up the buckets of each user. What cannot be read costs its owner's sums, and nobody else's."""
    if not isinstance(answer, list):
        raise ProviderError("The answer is not a list of buckets as Ceph's gateway gives it. Check the URL.")
    users: dict[str, _Storage] = {}
    for bucket in answer:
        owner = bucket.get("owner") if isinstance(bucket, dict) else None
        storage = users.setdefault(owner if isinstance(owner, str) else "", _Storage())
        try:
            if not owner or not isinstance(owner, str):
                raise ValueError("it has no owner")
            storage.add(bucket)
        except ValueError as error:
            name = bucket.get("bucket") if isinstance(bucket, dict) else None
            storage.reason = f"The bucket {str(name)[:63]!r} cannot be counted: {error}."
    return users


def _quota(quota: Any) -> dict[str, int]:
    """Return the limits by metric; what is unlimited is not there."""
    if not isinstance(quota, dict) or quota.get("enabled") is not True:
        return {}
    limits = {DISK: quota.get("max_size"), "objects": quota.get("max_objects")}
    return {name: limit for name, limit in limits.items() if type(limit) is int and 0 <= limit < 10**DIGITS}


def _current_of(
    user: str,
    storage: Mapping[str, _Storage],
    traffic: _Traffic,
    limits: Mapping[str, int],
    refused: Mapping[str, str],
) -> TenantUsage:
    values, failures = dict[str, Usage](), dict(refused)
    if DISK not in refused and (user in storage or "" not in storage):
        # All buckets are known, so a user without one stores nothing.
        own = storage.get(user) or _Storage()
        if own.reason:
            failures |= dict.fromkeys(_LEVELS, own.reason)
        else:
            for name, size in own.sizes.items():
                limit = Decimal(limits[name]) if name in limits else None
                values[name] = Usage(Decimal(size), limit=limit)
    if BANDWIDTH not in refused:
        # The log is kept, so a user without a line in it had no traffic.
        said = _traffic_of(user, traffic.get(user, dict.fromkeys(_TRAFFIC, 0)))
        values |= said.values
        failures |= said.failures
    return TenantUsage(user, values if user else {}, failures)


def _traffic_of(user: str, said: dict[str, int] | str, period: Period | None = None) -> TenantUsage:
    if isinstance(said, str):
        return TenantUsage(user, {}, dict.fromkeys(_TRAFFIC, said))
    start, end = (period.start, period.end) if period else (None, None)
    return TenantUsage(user, {name: Usage(Decimal(value), start=start, end=end) for name, value in said.items()})


def _number(stats: Any, name: str) -> int:
    value = stats.get(name) if isinstance(stats, dict) else None
    if type(value) is not int or not 0 <= value < 10**DIGITS:
        raise ValueError(f"{name} is {str(value)[:40]!r}, not a number of at most {DIGITS} digits")
    return value


def _midnight(of: date, zone: tzinfo) -> datetime:
    return datetime.combine(of, time.min, zone).astimezone(UTC)


def _hour(at: datetime) -> datetime:
    """Return the first full hour of UTC that is not before an instant."""
    hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return hour if hour == at else hour + _HOUR
