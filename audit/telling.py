"""Entries in words: who did what, and what of it was what before."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from django.db import models
from django.utils.dateparse import parse_date, parse_datetime, parse_time
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from audit.models import SECRET, Entry
from audit.names import KINDS, Names, field_of, is_known_by_name, name_within, place_of, target_of
from audit.tables import BRIEF

#: A value as it is shown; templates and spreadsheets write it in their own way.
Value = str | bool | Decimal | date | datetime | time | None

SOURCES = {
    "page": gettext_lazy("in the browser"),
    "api": gettext_lazy("by the API"),
    "command": gettext_lazy("on the command line"),
    "job": gettext_lazy("by a job"),
    "": gettext_lazy("in the database itself"),
}
_ICONS = {
    Entry.What.INSERT: "plus",
    Entry.What.UPDATE: "sliders",
    Entry.What.DELETE: "minus",
    Entry.What.TRUNCATE: "alert",
    Entry.What.LOGIN_FAILED: "alert",
    Entry.What.REFUSED: "alert",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One column: what it was and what it is. Of a secret only that it changed is known; an amount has a currency."""

    field: str
    before: Value
    after: Value
    is_secret: bool = False
    is_reference: bool = False
    currency: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """An entry as a person reads it."""

    entry: Entry
    sentence: str
    who: str
    source: str
    kind: str
    changes: list[Change]
    page: str

    @property
    def icon(self) -> str:
        return _ICONS.get(Entry.What(self.entry.what), "user")

    @property
    def is_bad(self) -> bool:
        return self.entry.what in (Entry.What.LOGIN_FAILED, Entry.What.REFUSED, Entry.What.TRUNCATE)

    @property
    def short(self) -> list[Change]:
        """What is worth a line below the sentence: of most rows that are new or gone nothing, since that is all."""
        is_said = self.entry.what == Entry.What.UPDATE or self.entry.table in BRIEF
        return [each for each in self.changes if not each.is_reference][:4] if is_said else []


def tell(entries: Sequence[Entry], *, with_pages: bool = True) -> list[Told]:
    """Put entries into words, in their order; names are read in as many queries as there are tables."""
    names = Names({reference for entry in entries for reference in _references(entry)})
    return [_told(entry, names, with_pages) for entry in entries]


def _references(entry: Entry) -> Iterable[str]:
    yield from entry.about
    if entry.actor_id:
        yield f"catalog_user:{entry.actor_id}"
    for column, pair in entry.changes.items():
        if (target := target_of(entry.table, column)) and isinstance(pair, list):
            yield from (f"{target}:{key}" for key in pair if key is not None)


def _told(entry: Entry, names: Names, with_pages: bool) -> Told:
    who = names.of(f"catalog_user:{entry.actor_id}") if entry.actor_id else ""
    who = who or entry.actor or (_("Somebody") if entry.what == Entry.What.LOGIN_FAILED else _nobody(entry))
    told = _Story(entry, names, who)
    return Told(
        entry=entry,
        sentence=told.sentence(),
        who=who,
        source=str(SOURCES.get(entry.source, entry.source)),
        kind=kind_of(entry),
        changes=told.changes(),
        page=told.page() if with_pages else "",
    )


def kind_of(entry: Entry) -> str:
    return str(KINDS.get(entry.table, entry.table)) if entry.is_of_row else str(_("access"))


def _nobody(entry: Entry) -> str:
    if entry.source == "":
        return _("Somebody with access to the database")
    return _("Somebody on the command line") if entry.source == "command" else _("The site")


class _Story:
    def __init__(self, entry: Entry, names: Names, who: str) -> None:
        self.entry, self.names, self.who = entry, names, who

    def sentence(self) -> str:
        if not self.entry.is_of_row:
            return str(_ACCESS[Entry.What(self.entry.what)]) % {
                "who": self.who,
                "page": self.entry.path,
                "whom": self.whom(),
            }
        own = _OWN.get((self.entry.table, self.entry.what))
        return str((own and own(self)) or _PLAIN[Entry.What(self.entry.what)]) % _Named(self)

    def thing(self) -> str:
        """Say which row it is: `service “shop.example”`, or `price of a product (Business Web)`."""
        kind = str(KINDS.get(self.entry.table, self.entry.table.replace("_", " ")))
        name = self.names.of(self.own) or name_within(self.entry.changes)
        if name and is_known_by_name(self.entry.table):
            return _("%(kind)s “%(name)s”") % {"kind": kind, "name": name}
        wholes = [known for each in self.entry.about if each != self.own and (known := self.names.of(each))]
        wholes = [*filter(None, [name]), *wholes]
        return _("%(kind)s (%(wholes)s)") % {"kind": kind, "wholes": ", ".join(wholes)} if wholes else kind

    @property
    def own(self) -> str:
        return f"{self.entry.table}:{self.entry.key}"

    def whom(self) -> str:
        """Whom a note is about, other than the one who did it."""
        others = [each for each in self.entry.about if each != f"catalog_user:{self.entry.actor_id}"]
        return ", ".join(filter(None, map(self.names.of, others))) or _("an address that nobody has")

    def value(self, column: str, *, before: bool = False) -> Any:
        pair = self.entry.changes.get(column)
        return pair[0 if before else 1] if isinstance(pair, list) else None

    def named(self, column: str) -> str:
        """The name of what a column refers to, by what it is, or was if it is gone."""
        key = self.value(column) or self.value(column, before=True)
        target = target_of(self.entry.table, column)
        known = self.names.of(f"{target}:{key}") if key is not None else ""
        if not known and key is None:
            # Of a row that was changed, what it is a part of is known by what the entry is about.
            known = next(filter(None, (self.names.of(e) for e in self.entry.about if e.startswith(f"{target}:"))), "")
        return known or _("one that is gone")

    def changes(self) -> list[Change]:
        rows = []
        for column, pair in sorted(self.entry.changes.items(), key=lambda item: place_of(self.entry.table, item[0])):
            field = field_of(self.entry.table, column)
            name = capfirst(str(field.verbose_name)) if field is not None else capfirst(column.replace("_", " "))
            if pair == SECRET:
                rows.append(Change(name, None, None, is_secret=True))
            elif column != "id" and isinstance(pair, list):
                before, after = (self.written(column, field, value) for value in pair)
                target = target_of(self.entry.table, column)
                is_whole = any(f"{target}:{key}" in self.entry.about for key in pair if key is not None)
                currency = self.currency() if column in _AMOUNTS else ""
                rows.append(Change(name, before, after, is_reference=is_whole, currency=currency))
        return rows

    def currency(self) -> str:
        """The currency of its amounts: its own, or that of what it is a part of, such as the invoice of a payment."""
        own = self.value("currency") or self.value("currency", before=True)
        found = (self.names.currency(each) for each in (self.own, *self.entry.about))
        return own or next(filter(None, found), "")

    def written(self, column: str, field: Any, value: Any) -> Value:
        if value is None or value == "":
            return None
        if target := target_of(self.entry.table, column):
            return self.names.of(f"{target}:{value}") or f"{KINDS.get(target, '')} {value}".strip()
        if isinstance(value, dict | list):
            return _flat(value)
        if isinstance(value, bool):
            return value
        if isinstance(value, Decimal | int):
            return Decimal(value)
        for kind, parse in _PARSED.items():
            if isinstance(field, kind):
                return parse(str(value)) or str(value)
        choices = dict(field.flatchoices) if field is not None else {}
        return str(choices.get(value, value))

    def page(self) -> str:
        """The page of the row, or of the first thing that it is a part of and that has one."""
        first = sorted(self.entry.about, key=lambda each: each != self.own)
        return next(filter(None, map(self.names.page, first)), "")


class _Named:
    """Fills a sentence: with who did it, which `thing` it was, its `own` name, what columns refer to, or values."""

    def __init__(self, story: _Story) -> None:
        self.story = story

    def __getitem__(self, key: str) -> str:
        story = self.story
        if key in ("who", "thing"):
            return story.who if key == "who" else story.thing()
        if key.endswith("_id"):
            return story.named(key)
        found = story.value(key) or story.value(key, before=True) or story.names.of(story.own)
        return str(found or story.thing())


_PARSED: dict[type, Callable[[str], Value]] = {
    models.DateTimeField: parse_datetime,
    models.DateField: parse_date,
    models.TimeField: parse_time,
}


#: Columns of money.
_AMOUNTS = frozenset({"amount", "total", "unit_price", "flat_fee", "minimum", "maximum"})


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_flat(each)}" for key, each in sorted(value.items()))
    return ", ".join(map(_flat, value)) if isinstance(value, list) else str(value)


_PLAIN = {
    Entry.What.INSERT: gettext_lazy("%(who)s added %(thing)s"),
    Entry.What.UPDATE: gettext_lazy("%(who)s changed %(thing)s"),
    Entry.What.DELETE: gettext_lazy("%(who)s deleted %(thing)s"),
    Entry.What.TRUNCATE: gettext_lazy("%(who)s deleted every %(thing)s"),
}
_ACCESS = {
    Entry.What.LOGIN: gettext_lazy("%(who)s signed in"),
    Entry.What.LOGIN_FAILED: gettext_lazy("A sign-in failed, with the mail address of %(whom)s"),
    Entry.What.LOGOUT: gettext_lazy("%(who)s signed out"),
    Entry.What.REFUSED: gettext_lazy("%(who)s was refused the page %(page)s"),
    Entry.What.VIEW_AS_BEGAN: gettext_lazy("%(who)s began to view the portal as %(whom)s"),
    Entry.What.VIEW_AS_ENDED: gettext_lazy("%(who)s stopped viewing the portal as %(whom)s"),
}


def _always(form: Any) -> Callable[[_Story], Any]:
    return lambda story: form


def _ended(form: Any) -> Callable[[_Story], Any]:
    """A sentence for when a span, an agreement or the like came to its end."""
    return lambda story: form if story.value("end") else None


def _revoked(form: Any) -> Callable[[_Story], Any]:
    return lambda story: form if story.value("revoked_at") else None


def _decided(story: _Story) -> Any:
    return {
        "approve": gettext_lazy("%(who)s approved that %(service_id)s is billed"),
        "hold": gettext_lazy("%(who)s held %(service_id)s back from billing"),
        "release": gettext_lazy("%(who)s released %(service_id)s to be billed"),
    }.get(str(story.value("verdict")))


def _password(story: _Story) -> Any:
    return gettext_lazy("%(who)s changed the password of %(email)s") if "password" in story.entry.changes else None


def _withdrawn(story: _Story) -> Any:
    return gettext_lazy("%(who)s withdrew prices: %(thing)s") if story.value("withdrawn_at") else None


def _stored_or_dropped(story: _Story) -> Any:
    return gettext_lazy("%(who)s decided about a held collection of %(server_id)s")


def _document(story: _Story) -> Any:
    if story.value("kind") == "credit_note":
        return gettext_lazy("%(who)s credited invoice %(credits_id)s by credit note %(number)s")
    return gettext_lazy("%(who)s issued invoice %(number)s in place of one that is void")


#: Deeds that have a better sentence than that something was added or changed.
_OWN: dict[tuple[str, str], Callable[[_Story], Any]] = {
    ("catalog_user", "update"): _password,
    ("catalog_user_groups", "insert"): _always(gettext_lazy("%(who)s put %(user_id)s into the group %(group_id)s")),
    ("catalog_user_groups", "delete"): _always(gettext_lazy("%(who)s took %(user_id)s out of the group %(group_id)s")),
    ("auth_group_permissions", "insert"): _always(
        gettext_lazy("%(who)s gave the group %(group_id)s a permission: %(permission_id)s")
    ),
    ("auth_group_permissions", "delete"): _always(
        gettext_lazy("%(who)s took a permission from the group %(group_id)s: %(permission_id)s")
    ),
    ("catalog_user_user_permissions", "insert"): _always(
        gettext_lazy("%(who)s gave %(user_id)s a permission: %(permission_id)s")
    ),
    ("catalog_user_user_permissions", "delete"): _always(
        gettext_lazy("%(who)s took a permission from %(user_id)s: %(permission_id)s")
    ),
    ("mfa_authenticator", "insert"): _always(gettext_lazy("%(who)s set up a second factor of %(user_id)s")),
    ("mfa_authenticator", "delete"): _always(gettext_lazy("%(who)s removed a second factor of %(user_id)s")),
    ("catalog_clientuser", "insert"): _always(gettext_lazy("%(who)s let %(user_id)s see %(client_id)s")),
    ("catalog_clientuser", "delete"): _always(
        gettext_lazy("%(who)s took from %(user_id)s what they saw of %(client_id)s")
    ),
    ("catalog_invitation", "insert"): _always(gettext_lazy("%(who)s invited %(email)s")),
    ("catalog_invitation", "update"): _revoked(gettext_lazy("%(who)s took the invitation of %(email)s back")),
    ("catalog_apikey", "insert"): _always(gettext_lazy("%(who)s made the API key %(name)s of %(client_id)s")),
    ("catalog_apikey", "update"): _revoked(gettext_lazy("%(who)s revoked the API key %(name)s of %(client_id)s")),
    ("metering_pushkey", "insert"): _always(gettext_lazy("%(who)s made the push key %(name)s of %(server_id)s")),
    ("metering_pushkey", "update"): _revoked(gettext_lazy("%(who)s revoked the push key %(name)s of %(server_id)s")),
    ("catalog_enabledspan", "insert"): _always(gettext_lazy("%(who)s switched %(setting_id)s on")),
    ("catalog_enabledspan", "update"): _ended(gettext_lazy("%(who)s switched %(setting_id)s off")),
    ("catalog_pricingversion", "insert"): _always(gettext_lazy("%(who)s set prices of %(setting_id)s")),
    ("catalog_pricingversion", "update"): _withdrawn,
    ("catalog_productprice", "update"): _always(gettext_lazy("%(who)s changed a price of %(product_id)s: %(own)s")),
    ("catalog_productprice", "insert"): _always(gettext_lazy("%(who)s added a price of %(product_id)s")),
    ("catalog_productprice", "delete"): _always(gettext_lazy("%(who)s deleted a price of %(product_id)s")),
    ("catalog_override", "insert"): _always(
        gettext_lazy("%(who)s agreed other terms with %(service_id)s, on %(setting_id)s")
    ),
    ("catalog_override", "update"): _ended(
        gettext_lazy("%(who)s ended what was agreed with %(service_id)s on %(setting_id)s")
    ),
    ("catalog_overageterms", "insert"): _always(gettext_lazy("%(who)s set the overage terms of %(product_id)s")),
    ("invoicing_invoicingspan", "insert"): _always(gettext_lazy("%(who)s switched usage invoicing on")),
    ("invoicing_invoicingspan", "update"): _ended(gettext_lazy("%(who)s switched usage invoicing off")),
    ("invoicing_decision", "insert"): _decided,
    ("invoicing_backbilling", "insert"): _always(
        gettext_lazy("%(who)s let what %(service_id)s used while it was off be billed, of %(setting_id)s")
    ),
    ("invoicing_run", "insert"): _always(gettext_lazy("%(who)s started a billing run")),
    ("invoicing_invoice", "insert"): _document,
    ("invoicing_payment", "insert"): _always(gettext_lazy("%(who)s entered a payment of invoice %(invoice_id)s")),
    ("metering_correction", "insert"): _always(gettext_lazy("%(who)s corrected usage of %(tenant_id)s: %(metric_id)s")),
    ("metering_collection", "update"): _stored_or_dropped,
}
