"""What the rows that entries name are called, read in bulk: a query for each table, however many entries there are."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from operator import attrgetter
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import models
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

#: What a row of a table is called before its name.
KINDS: dict[str, str | Promise] = {
    "catalog_user": _("user"),
    "catalog_user_groups": _("group of a user"),
    "catalog_user_user_permissions": _("permission of a user"),
    "auth_group": _("group"),
    "auth_group_permissions": _("permission of a group"),
    "account_emailaddress": _("mail address"),
    "mfa_authenticator": _("second factor"),
    "catalog_client": _("client"),
    "catalog_taxrate": _("tax rate"),
    "catalog_clientuser": _("access to a client"),
    "catalog_invitation": _("invitation"),
    "catalog_apikey": _("API key"),
    "metering_pushkey": _("push key"),
    "catalog_product": _("product"),
    "catalog_productprice": _("price of a product"),
    "catalog_metricsetting": _("metric of a product"),
    "catalog_enabledspan": _("switch of a metric"),
    "catalog_pricingversion": _("prices of a metric"),
    "catalog_chargebounds": _("least and most charge"),
    "catalog_bracketprice": _("bracket"),
    "catalog_override": _("agreement"),
    "catalog_overrideprice": _("bracket of an agreement"),
    "catalog_overageterms": _("overage terms"),
    "catalog_overageprice": _("price of overage"),
    "catalog_service": _("service"),
    "invoicing_invoicingspan": _("usage invoicing"),
    "invoicing_decision": _("decision about billing"),
    "invoicing_backbilling": _("back billing"),
    "invoicing_run": _("billing run"),
    "invoicing_invoice": _("invoice or credit note"),
    "invoicing_payment": _("payment"),
    "invoicing_alert": _("alert"),
    "metering_server": _("server"),
    "metering_correction": _("corrected usage"),
    "metering_collection": _("held collection"),
}
#: What is read with a row, since its name has it.
_JOINED = {
    "catalog_metricsetting": ("metric", "product"),
    "catalog_pricingversion": ("setting__metric", "setting__product"),
    "catalog_override": ("service", "setting__metric", "setting__product"),
    "catalog_overageterms": ("product",),
    "auth_permission": ("content_type",),
}
#: What a row is called where that is not what its model says.
_CALLED: dict[str, Callable[[Any], str]] = {
    "catalog_productprice": lambda row: f"{row.cycle}, {row.currency}",
    "catalog_bracketprice": lambda row: f"{row.currency}, {row.start.normalize():f}",
    "catalog_overageprice": lambda row: str(row.currency),
}
#: Rows that the site made itself, such as the roles of staff: their names are texts of its own.
_OURS = frozenset({"auth_group"})
#: What is named by a text.
_NAMED_BY_TEXT = {"catalog_taxrate": ("note",)}
#: The page of a row, and what its address is made of.
_PAGES = {
    "catalog_service": ("staff_service", "public_id"),
    "catalog_client": ("staff_client", "pk"),
    "catalog_taxrate": ("admin:catalog_taxrate_change", "pk"),
    "catalog_product": ("staff_product", "pk"),
    "catalog_metricsetting": ("staff_pricing", "product_id", "metric_id"),
    "catalog_pricingversion": ("staff_pricing", "setting.product_id", "setting.metric_id"),
    "catalog_override": ("staff_service", "service.public_id"),  # every role may see it; making one is not for all
    "catalog_overageterms": ("staff_overage", "product_id"),
    "catalog_user": ("admin:catalog_user_change", "pk"),
    "auth_group": ("admin:auth_group_change", "pk"),
    "invoicing_invoice": ("staff_invoice", "pk"),
    "invoicing_run": ("staff_run", "pk"),
    "metering_server": ("staff_server", "pk"),
    "metering_collection": ("staff_collection", "pk"),
    "metering_correction": ("staff_usage", "tenant_id", "metric_id"),
}
#: Columns that say what a row was called, for when it is gone.
_TELLING = ("name", "email", "number", "title")


@cache
def model_of(table: str) -> type[models.Model] | None:
    """Return the model of a table."""
    return {each._meta.db_table: each for each in apps.get_models(include_auto_created=True)}.get(table)


@cache
def field_of(table: str, column: str) -> models.Field[Any, Any] | None:
    """Return the field of a column."""
    model = model_of(table)
    return {each.column: each for each in model._meta.concrete_fields}.get(column) if model else None


@cache
def place_of(table: str, column: str) -> int:
    """Return where a column stands among those of its table, as its model has them."""
    model = model_of(table)
    columns = [each.column for each in model._meta.concrete_fields] if model else []
    return columns.index(column) if column in columns else len(columns)


@cache
def target_of(table: str, column: str) -> str:
    """Return the table that a column refers to, if it does."""
    field = field_of(table, column)
    related = field.related_model if field is not None and field.is_relation else None
    return str(related._meta.db_table) if isinstance(related, type) else ""


class Names:
    """The names of rows, by their references. A row that is gone has none."""

    def __init__(self, references: Iterable[str]) -> None:
        wanted: dict[str, set[str]] = defaultdict(set)
        for each in references:
            table, _colon, key = each.partition(":")
            wanted[table].add(key)
        self._rows = {
            f"{table}:{row.pk}": row for table, keys in sorted(wanted.items()) for row in self._read(table, keys)
        }

    @staticmethod
    def _read(table: str, keys: set[str]) -> list[models.Model]:
        model = model_of(table)
        if model is None or not _has_a_name(model):
            return []
        keys = {key for key in keys if _is_a_key(model, key)}
        # Of what is long, encrypted or secret nothing is needed for a name.
        needed = _NAMED_BY_TEXT.get(table, ())
        long = [
            each.name for each in model._meta.concrete_fields if isinstance(each, _LONG) and each.name not in needed
        ]
        return list(model._default_manager.select_related(*_JOINED.get(table, ())).defer(*long).filter(pk__in=keys))

    def of(self, reference: str) -> str:
        row, table = self._rows.get(reference), reference.partition(":")[0]
        if row is None:
            return ""
        name = _CALLED.get(table, str)(row)
        return gettext(capfirst(name)) if table in _OURS else name

    def currency(self, reference: str) -> str:
        """Return the currency of a row, if it has one."""
        return str(getattr(self._rows.get(reference), "currency", ""))

    def page(self, reference: str) -> str:
        """Return the address of a row's page; empty if it has none, or is gone."""
        name, *attributes = _PAGES.get(reference.partition(":")[0], ("",))
        row = self._rows.get(reference)
        if row is None or not name:
            return ""
        return reverse(name, args=[attrgetter(each)(row) for each in attributes])


def is_known_by_name(table: str) -> bool:
    """Whether a row's own name says which one it is; others need what they are a part of."""
    return table not in _CALLED


def name_within(changes: dict[str, Any]) -> str:
    """Return what a row was called, by what it was made or deleted with."""
    for column in _TELLING:
        pair = changes.get(column)
        if isinstance(pair, list) and (known := pair[1] or pair[0]):
            return str(known)
    return ""


def _is_a_key(model: type[models.Model], key: str) -> bool:
    """Whether a row may have this key. An address may name anything."""
    try:
        model._meta.pk.to_python(key)
    except ValidationError:
        return False
    return True


_LONG = (models.TextField, models.JSONField, models.BinaryField)


def _has_a_name(model: type[models.Model]) -> bool:
    """Whether what a row is called stands in a column of its own."""
    columns = {field.column for field in model._meta.concrete_fields}
    named_otherwise = {*_JOINED, *_CALLED, *_PAGES}
    return not columns.isdisjoint({*_TELLING, "display_name", "key"}) or model._meta.db_table in named_otherwise
