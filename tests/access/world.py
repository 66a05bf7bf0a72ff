"""A small provider with one of everything, and every kind of person who may knock at an address of it."""

from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group
from django.db.models import F
from django.utils import timezone

from audit.models import Entry
from catalog.invitations import new_digest, token_of
from catalog.models import ApiKey, ClientUser, Invitation, Role, Service, User
from invoicing import payments, questions
from invoicing.models import Alert, Message, Run, Series
from invoicing.preview import ask as preview_of
from invoicing.preview import make as make_preview
from metering import push_keys
from metering.models import Collection, Upload
from tests.builders import (
    GB,
    TRAFFIC,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_tenant,
    a_user,
    agreed,
    collected,
    priced,
    tenant_says,
)
from tests.invoicing.documents import fee, issued, usage
from tests.metering.pushed import a_key, a_push_server
from tests.people import api_key, client_user, staff_with

ROLES = ("viewer", "support", "billing", "pricing", "administrator")
#: Who has what another client has.
STRANGERS = ("other owner", "staff of nothing", "staff viewer")


@dataclass
class World:
    """The arguments of addresses, by name of the address, and who knocks: a user, or a bearer token."""

    arguments: dict[str, list[Any]]
    users: dict[str, User | None]
    tokens: dict[str, str] = field(default_factory=dict)


def world() -> World:
    """Build it. All that has an owner belongs to client A; client B has the same kinds of things."""
    now = timezone.now()
    first, other = a_client("Lindqvist & Moe"), a_client("Harbour")
    for client in (first, other):
        for role in Role.values:
            client_user(client, role)
    owner = User.objects.get(email=f"owner@{first.pk}.client.test")
    service, invoice = _of_client(first, "alice")
    _of_client(other, "bob")
    _, setting = service, service.product.metric_settings.get()
    Series.objects.update(next_number=F("next_number") + 100)  # what a person bills comes after these
    line = invoice.lines.get(kind="usage")
    server, tenant = service.tenant.server, service.tenant
    agreement = agreed(service, setting, discount="10", start=str(date.today() + timedelta(days=3)))
    invitation = _invitation(first, now)
    to_staff = _invitation(None, now)
    member = ClientUser.objects.get(client=first, user__email__startswith="reader@")
    payment = payments.record(invoice=invoice, amount=Decimal(5), received_on=date.today(), by=None, at=now)
    question = questions.ask(line=line, text="Why?", by=owner, at=now)
    alert = Alert.objects.create(
        client=first, service=service, measure="amount", bound=9, currency="USD", created_at=now
    )
    watch = Alert.objects.create(product=service.product, measure="amount", bound=9, currency="USD", created_at=now)
    key = api_key(first)
    shop = a_push_server()
    pushing, _text = push_keys.make(server=shop, name="shop", by=None, at=now)
    push_key = a_key(shop, when=f"{now:%Y-%m-%d %H:%M}")
    administrator = staff_with("administrator")
    upload = Upload.objects.create(
        server=shop,
        name="usage.csv",
        format="csv",
        digest="0" * 64,
        content=b"tenant,metric,value",
        at=now,
        by=administrator,
    )
    run = Run.objects.create(on=date.today(), started_at=now, ended_at=now)
    preview = preview_of(on=date.today(), at=now, by=None)
    make_preview(pk=preview.pk, at=now)
    message = Message.objects.create(
        kind="issued", client=first, invoice=invoice, to="sara@client.test", created_at=now
    )
    collection = Collection.objects.filter(server=server).latest("pk")
    client_key = ApiKey.objects.get(client=first)
    colleague = staff_with("support", "colleague@staff.test")
    arguments: dict[str, list[Any]] = {}
    for prefixes, names in [
        (
            (service.public_id,),
            "portal_service portal_service_prices portal_usage_csv portal_alert_new staff_service"
            " staff_service_refresh staff_service_begin staff_service_terminate staff_service_change"
            " staff_service_reactivate"
            " staff_left_out staff_service_decide staff_service_bill staff_service_finish staff_service_settle"
            " api:terminate_service api:read_service api:list_usage",
        ),
        (
            (service.public_id, setting.metric_id),
            "portal_metric portal_metric_csv staff_metric staff_metric_csv staff_override",
        ),
        ((service.public_id, agreement.pk), "staff_override_end staff_override_withdraw"),
        (
            (invoice.pk,),
            "portal_invoice portal_invoice_pdf portal_lines_csv staff_invoice staff_credit staff_void"
            " staff_payment staff_invoice_pdf staff_lines_csv api:read_invoice api:list_lines"
            " api:read_pdf api:record_payment",
        ),
        (
            (invoice.pk, line.pk),
            "portal_line portal_periods_csv portal_readings_csv portal_ask staff_line"
            " staff_periods_csv staff_readings_csv",
        ),
        ((invoice.pk, line.pk, 1), "portal_period staff_period"),
        ((invoice.pk, payment.pk), "staff_payment_take_back"),
        ((question.pk,), "portal_question_close staff_answer staff_question_close"),
        ((alert.pk,), "portal_alert portal_alert_delete"),
        ((service.product_id, watch.pk), "staff_product_alert_delete"),
        (
            (first.pk,),
            "portal_budget_new portal_client_users_of portal_client_invite portal_client_keys_of"
            " portal_client_make_key portal_client_data_of staff_client staff_client_edit staff_view_as"
            " staff_client_users staff_client_invite",
        ),
        ((first.pk, member.pk), "portal_client_role portal_client_remove staff_client_role staff_client_remove"),
        ((first.pk, invitation.pk), "portal_client_revoke portal_client_again staff_client_revoke staff_client_again"),
        ((first.pk, client_key.pk), "portal_client_revoke_key staff_client_revoke_key"),
        ((token_of(invitation),), "invitation"),
        ((service.product.slug,), "price_list"),
        ((service.product_id,), "staff_product staff_product_metrics staff_overage staff_product_alerts"),
        ((service.product_id, setting.metric_id), "staff_pricing staff_pricing_simulate"),
        ((service.product_id, setting.metric_id, 1), "staff_pricing_withdraw"),
        (
            (server.pk,),
            "staff_server staff_server_edit staff_server_test staff_server_collect",
        ),
        ((shop.pk,), "staff_push_key_new staff_import_new"),
        ((shop.pk, pushing.pk), "staff_push_key_revoke"),
        ((shop.pk, upload.pk), "staff_import"),
        (("prometheus",), "staff_server_new"),
        ((collection.pk,), "staff_collection staff_collection_decide"),
        ((tenant.pk, setting.metric_id), "staff_usage"),
        ((tenant.pk, setting.metric_id, date(2026, 10, 1)), "staff_usage_period"),
        ((tenant.pk,), "staff_unbilled_attach"),
        ((run.pk,), "staff_run"),
        ((preview.pk,), "staff_preview_of staff_preview_decide"),
        ((message.pk,), "staff_message staff_message_html staff_message_again"),
        (("issued", "de"), "staff_message_kind_html"),
        ((colleague.pk,), "staff_team_role staff_team_deactivate staff_team_activate"),
        ((to_staff.pk,), "staff_team_revoke staff_team_again"),
    ]:
        for name in names.split():
            arguments[name] = list(prefixes)
    arguments["staff_audit_entry"] = [Entry.objects.latest("pk").pk]
    users: dict[str, User | None] = {
        "nobody": None,
        "owner": owner,
        "billing of client": User.objects.get(email=f"billing@{first.pk}.client.test"),
        "reader": member.user,
        "other owner": User.objects.get(email=f"owner@{other.pk}.client.test"),
        "staff of nothing": a_user("nothing@staff.test", is_staff=True),
        **{f"staff {role}": staff_with(role) for role in ROLES if role != "administrator"},
        "staff administrator": administrator,
    }
    return World(arguments, users, {"key": key, "other key": api_key(other), "push key": push_key})


def _of_client(client, name: str) -> tuple[Service, Any]:
    server = a_server(f"panel of {name}")
    is_new = not a_product().metric_settings.exists()
    service = a_service(a_product(), client, a_tenant(server, name), anchor="2026-10-01")
    setting = a_setting(service.product, TRAFFIC, "2020-01-01" if is_new else None)
    if is_new:
        priced(setting, ("0", "1"), notation="above", unit_code="GB")
    collected(server, "2026-10-30 06:00", tenant_says(name, traffic=12 * GB))
    invoice = issued(client, fee(service), usage(service, setting, ("2026-10-01", "12")))
    return service, invoice


def _invitation(client, now) -> Invitation:
    return Invitation.objects.create(
        client=client,
        role=Role.READER if client else "",
        group=None if client else Group.objects.get(name="viewer"),
        email="new@client.test",
        digest=new_digest(),
        created_at=now,
        expires_at=now + timedelta(days=7),
    )
