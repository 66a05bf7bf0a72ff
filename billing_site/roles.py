"""The roles of staff, as Django groups, and what each may do: the one place that says so.

The groups and what they hold are brought in step with this after each migration, where Django makes the permissions.
docs/operating.md tells the same as a table.
"""

from typing import Any

from django.apps import AppConfig
from django.apps import apps as installed_apps
from django.contrib.auth.management import create_permissions
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

#: The apps whose rows staff work with. Django's own, such as groups and sessions, are for superusers.
APPS = ("metering", "catalog", "invoicing", "reports", "audit")

VIEWER, SUPPORT, BILLING, PRICING, ADMINISTRATOR = "viewer", "support", "billing", "pricing", "administrator"

NAMES: dict[str, Promise] = {
    VIEWER: _("Viewer"),
    SUPPORT: _("Support"),
    BILLING: _("Billing"),
    PRICING: _("Pricing"),
    ADMINISTRATOR: _("Administrator"),
}
#: What each role means, for whoever chooses one.
MEANINGS: dict[str, Promise] = {
    VIEWER: _("sees everything, changes nothing"),
    SUPPORT: _("collects anew, answers questions, invites users of clients and views as a client"),
    BILLING: _("runs, invoices, credit notes, payments, corrections of usage, services"),
    PRICING: _("products, prices, agreements and simulations"),
    ADMINISTRATOR: _("everything, with staff, servers and their credentials"),
}

#: What a role may besides seeing everything, by model: `app.model: verbs`.
_MORE: dict[str, dict[str, str]] = {
    VIEWER: {},
    SUPPORT: {
        "metering.collection": "add",
        "catalog.client": "add change view_as_client",
        "catalog.clientuser": "add change delete",
        "catalog.invitation": "add change",
        "catalog.apikey": "change",
        "invoicing.question": "add change",
        "invoicing.post": "add",
        "invoicing.message": "change",
    },
    BILLING: {
        "metering.collection": "add change",
        "metering.correction": "add",
        "metering.upload": "add",
        "catalog.client": "add change",
        "catalog.taxrate": "add change",
        "catalog.service": "add change",
        "invoicing.run": "add",
        "invoicing.invoice": "add",
        "invoicing.payment": "add change",
        "invoicing.backbilling": "add",
        "invoicing.alert": "add change delete",
        "invoicing.question": "add change",
        "invoicing.post": "add",
        "invoicing.message": "change",
    },
    PRICING: {
        "catalog.product": "add change",
        "catalog.productprice": "add change delete",
        "catalog.taxrate": "add change",
        "catalog.metricsetting": "add change",
        "catalog.pricingversion": "add change delete",
        "catalog.override": "add change delete",
        "catalog.overageterms": "add change",
        "invoicing.alert": "add change delete",
    },
}


def of_role(role: str, known: set[str]) -> set[str]:
    """Which of the permissions that there are a role has, as `app.codename`."""
    if role == ADMINISTRATOR:
        return known
    more = {permission for model, verbs in _MORE[role].items() for permission in _named(model, verbs)}
    return {each for each in known if _is_to_see(each)} | more


def _named(model: str, verbs: str) -> list[str]:
    app, _dot, name = model.partition(".")
    return [f"{app}.{verb}_{name}" if "_" not in verb else f"{app}.{verb}" for verb in verbs.split()]


def _is_to_see(permission: str) -> bool:
    codename = permission.partition(".")[2]
    return codename.startswith("view_") and codename != "view_as_client"


def keep_in_step(sender: AppConfig, *, using: str = "default", apps: Any = installed_apps, **_options: Any) -> None:
    """After a migration: make the groups, and let each hold what its role says, and nothing else."""
    try:
        permissions, groups = apps.get_model("auth", "Permission"), apps.get_model("auth", "Group")
    except LookupError:
        return
    for label in APPS:
        create_permissions(installed_apps.get_app_config(label), verbosity=0, using=using, apps=apps)
    ids = {
        f"{app}.{codename}": pk
        for pk, app, codename in permissions.objects.using(using)
        .filter(content_type__app_label__in=APPS)
        .order_by()
        .values_list("pk", "content_type__app_label", "codename")
    }
    known = set(ids)
    groups.objects.using(using).bulk_create([groups(name=name) for name in NAMES], ignore_conflicts=True)
    held = groups.permissions.through.objects.using(using)
    found = dict(groups.objects.using(using).filter(name__in=NAMES).values_list("name", "pk"))
    have = set(held.filter(group_id__in=found.values()).values_list("group_id", "permission_id"))
    want = {(found[role], ids[each]) for role in NAMES for each in of_role(role, known) & known}
    for group, permission in sorted(have - want):
        held.filter(group_id=group, permission_id=permission).delete()
    held.bulk_create(
        [
            groups.permissions.through(group_id=group, permission_id=permission)
            for group, permission in sorted(want - have)
        ]
    )
