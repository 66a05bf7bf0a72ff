"""Mailboxes of a Dovecot server by the quota that it keeps of them, by domain or by user, over its doveadm HTTP API.

One request asks for the list of users and for the quotas of all. The list is what shows who is missing among the
quotas: Dovecot leaves out, without a word, every user whose mailbox it could not open.
"""

import json
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

from metering.decimals import NotANumber, exact_sum, parse
from metering.periods import Period
from metering.providers.base import (
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
from metering.units import MAILBOXES, MB, MESSAGES

PATH = "/doveadm/v1"

#: What a quota counts, by its name in the answer: the metric, and how much one of it is.
_TYPES = {"STORAGE": (DISK, 1024), "MESSAGE": ("messages", 1)}
_LEVELS = (
    Metric(DISK, _("Mail storage"), MetricType.SNAPSHOT, MB),
    Metric("messages", _("Messages"), MetricType.SNAPSHOT, MESSAGES),
)
_COUNT = Metric("mailboxes", _("Mailboxes"), MetricType.SNAPSHOT, MAILBOXES)
_TENANTS = (("domains", _("domains: what is behind the @")), ("users", _("users")))
_REASONS = {
    67: "there is no such user",
    75: "it failed for the moment; its log says why",
    77: "it was not permitted",
}


@dataclass(slots=True)
class _Mailbox:
    """What is known of one user: values and limits by metric, and what went wrong, by metric or by ''."""

    values: dict[str, Decimal] = field(default_factory=dict)
    limits: dict[str, Decimal] = field(default_factory=dict)
    roots: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)

    def reason(self, metric: str) -> str:
        if len(self.roots) > 1:
            return f"it has the quota roots {', '.join(sorted(self.roots))}: enter the one that counts"
        if metric in self.values:
            return ""
        return self.reasons.get(metric) or "Dovecot told no quota of it: doveadm quota get -u says why"


class Dovecot(Provider):
    """Usage of the mailboxes of one server.

    - `disk_used`: what Dovecot counts against the quota of a user, in bytes, of each user rounded up to whole KiB. By
      the driver `count` these are the sizes of messages as clients see them: before compression, without index files.
    - `messages`: how many messages they are.
    - `mailboxes`: how many users a domain has, whether or not they have mail.

    A domain's limit is the sum of those of its users, if each has one.
    """

    title: ClassVar[str] = "Dovecot"
    tenant_is: ClassVar[str] = _("a mail domain, or a user name")
    resets: ClassVar[str] = _("Nothing resets: all values are as of now.")
    can_look_back: ClassVar[bool] = False
    fields: ClassVar[tuple[Field, ...]] = (
        Field("url", "URL", help=_("https://host:8080, of the inet_listener of service doveadm with ssl = yes.")),
        Field("key", _("API key"), "secret", help=_("doveadm_api_key of dovecot.conf.")),
        Field("tenants", _("Tenants are"), "choice", initial="domains", choices=_TENANTS),
        Field(
            "root", _("Quota root"), required=False, help=_("The one that counts, if users have several: User quota.")
        ),
        *TLS,
    )
    #: Dovecot opens one mailbox after the other, and answers when it is through.
    limits: ClassVar[Limits] = Limits(read=300, total=300, size=64 * 2**20)

    def __init__(self, connection: Connection) -> None:
        settings, self._connection = connection.settings, connection
        self._is_by_user = settings.get("tenants") == "users"
        self._root = str(settings.get("root") or "").strip()

    @classmethod
    def metrics(cls, settings: Mapping[str, Any] | None = None) -> Sequence[Metric]:
        return _LEVELS if (settings or {}).get("tenants") == "users" else (*_LEVELS, _COUNT)

    def check(self) -> str:
        """Return "Dovecot, 12 mailboxes"."""
        with self._client() as http:
            commands = http.read_json(http.get(PATH))
            listed = commands if isinstance(commands, list) else []
            names = [each.get("command") for each in listed if isinstance(each, dict)]
            if "user" not in names:
                raise ProviderError(f"The server answers, but not as Dovecot does at {PATH}. Check the URL.")
            if "quotaGet" not in names:
                raise ProviderError("Dovecot has no command quotaGet. Add quota to mail_plugins, and reload it.")
            users = _users(_run(http, users=("user", {"userMask": ["*"]})))
        return f"Dovecot, {MAILBOXES.write(Decimal(len(users)))}"

    def usage(self, period: Period | None = None) -> Iterator[TenantUsage]:
        """Yield the current usage of every domain or user; `period` is never given.

        Users without a domain come out as a tenant with an empty name that has failures and no values.
        """
        with self._client() as http:
            answers = _run(http, users=("user", {"userMask": ["*"]}), quota=("quotaGet", {"allUsers": True}))
        mailboxes: dict[str, _Mailbox] = {user: _Mailbox() for user in _users(answers)}
        self._add(mailboxes, answers["quota"])
        tenants: dict[str, dict[str, _Mailbox]] = defaultdict(dict)
        for user, mailbox in mailboxes.items():
            tenants[self._tenant(user)][user] = mailbox
        for tenant, own in tenants.items():
            yield self._total(tenant, own)

    def tenant_usage(self, tenant: str) -> TenantUsage:
        own: dict[str, _Mailbox] = {}
        # A name with a wildcard would be many.
        if tenant and not set("*?\0").intersection(tenant):
            mask = tenant if self._is_by_user else f"*@{tenant}"
            with self._client() as http:
                quota = ("quotaGet", {"user": mask})
                if self._is_by_user:
                    answers = _run(http, quota=quota)
                    users = [tenant] if isinstance(answers["quota"], list) else []
                else:
                    answers = _run(http, users=("user", {"userMask": [mask]}), quota=quota)
                    users = [user for user in _users(answers) if self._tenant(user) == tenant.lower()]
            own = {user: _Mailbox() for user in users}
            if own:
                self._add(own, answers["quota"], named=tenant)
        if not own:
            kind = "user" if self._is_by_user else "mailbox in the domain"
            raise ProviderError(f"Dovecot knows no {kind} {tenant!r}, or cannot open it. Check the name, and its log.")
        return self._total(self._tenant(mask), own)

    def _client(self) -> Client:
        if not (key := self._connection.credentials.get("key", "")):
            raise ProviderError("The API key is missing. Enter doveadm_api_key of dovecot.conf.")
        headers = {"Authorization": f"X-Dovecot-API {b64encode(key.encode()).decode()}"}
        return Client.to(self._connection, headers=headers, secrets=[key], limits=self.limits)

    def _tenant(self, user: str) -> str:
        return user if self._is_by_user else user.rpartition("@")[2].lower() if "@" in user else ""

    def _add(self, mailboxes: dict[str, _Mailbox], answer: Any, named: str = "") -> None:
        """Read the rows of quotas into the mailboxes. `named` is whose they are when they do not say so."""
        if not isinstance(answer, list):
            raise ProviderError(f"Dovecot could not tell the quotas: {answer}. Is quota among its mail_plugins?")
        for row in answer:
            match row:
                case {"root": str(root), "type": str(kind), "value": value, "limit": limit} if kind in _TYPES:
                    user = row.get("username", named)
                    if isinstance(user, str) and self._root in ("", root):
                        self._read(mailboxes.setdefault(user, _Mailbox()), root, kind, value, limit)

    def _read(self, mailbox: _Mailbox, root: str, kind: str, value: Any, limit: Any) -> None:
        metric, size = _TYPES[kind]
        mailbox.roots.add(root)
        try:
            mailbox.values[metric] = _number(value) * size
            if limit != "-":
                mailbox.limits[metric] = _number(limit) * size
        except NotANumber as error:
            mailbox.values.pop(metric, None)
            mailbox.reasons[metric] = str(error)

    def _total(self, tenant: str, own: Mapping[str, _Mailbox]) -> TenantUsage:
        """Add up mailboxes; without one of them a sum would be a number that is too small."""
        if not tenant:
            reason = f"{MAILBOXES.write(Decimal(len(own)))} without a domain: {_some(own)}"
            return TenantUsage("", {}, {"mailboxes": reason})
        values, failures = dict[str, Usage](), dict[str, str]()
        for metric in ("disk_used", "messages"):
            reasons = {user: reason for user, mailbox in own.items() if (reason := mailbox.reason(metric))}
            if reasons:
                first = next(iter(reasons.values()))
                failures[metric] = f"{len(reasons)} of {len(own)} cannot be measured ({_some(reasons)}): {first}."
                continue
            limits = [mailbox.limits[metric] for mailbox in own.values() if metric in mailbox.limits]
            limit = exact_sum(limits) if len(limits) == len(own) else None
            values[metric] = Usage(exact_sum(mailbox.values[metric] for mailbox in own.values()), limit=limit)
        if not self._is_by_user:
            values["mailboxes"] = Usage(Decimal(len(own)))
        return TenantUsage(tenant, values, failures)


def _run(http: Client, **commands: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Run commands in one request, and return their answers by name; one that failed gives a text that says why."""
    body = json.dumps([[name, arguments, tag] for tag, (name, arguments) in commands.items()]).encode()
    said = http.send(PATH, body, "application/json")
    # Dovecot 2.3 forgets the comma between two errors. Within a text such a quote would be escaped.
    answers: dict[str, Any] = {}
    read = http.read_json(said.replace(b']["error",', b'],["error",'))
    for each in read if isinstance(read, list) else ():
        match each:
            case ["doveadmResponse", answer, str(tag)]:
                answers[tag] = answer
            case ["error", {"type": kind, **rest}, str(tag)]:
                code = rest.get("exitCode")
                answers[tag] = _REASONS.get(code) if kind == "exitCode" and isinstance(code, int) else None
                answers[tag] = answers[tag] or http.quote(f"{kind}, exit code {code}")
    if not answers.keys() >= commands.keys():
        raise ProviderError(f"The answer is not that of Dovecot's {PATH}. Check the URL.")
    return answers


def _users(answers: Mapping[str, Any]) -> list[str]:
    match answers["users"]:
        case {"userList": list(users)} if all(isinstance(user, str) for user in users):
            return users
        case {"userList": _}:
            raise ProviderError("Dovecot's list of users is damaged. Look at it with: doveadm user '*'")
        case said:
            reason = said if isinstance(said, str) else "its answer is no list"
            raise ProviderError(
                f"Dovecot cannot list its users: {reason}. Its userdb must be able to iterate "
                "(iterate_query of SQL, iterate_filter of LDAP); doveadm user '*' shows it."
            )


def _number(text: Any) -> Decimal:
    if not isinstance(text, str):
        raise NotANumber(f"{str(text)[:40]!r} is no number")
    return parse(text, places=0)


def _some(names: Mapping[str, Any]) -> str:
    shown = ", ".join(list(names)[:3])
    return shown if len(names) <= 3 else f"{shown} …"
