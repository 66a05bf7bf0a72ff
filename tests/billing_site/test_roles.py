"""The roles of staff: what each may, as a table; groups in step with the code; and the team page."""

import re
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from billing_site import roles, team
from billing_site.team import Refused
from catalog.models import Invitation, User
from invoicing.models import Message
from tests.builders import a_client, a_product, a_server, a_service, a_staff_user, a_tenant, a_user
from tests.people import staff_with

pytestmark = pytest.mark.django_db

ROLES = ["viewer", "support", "billing", "pricing", "administrator"]
ROOT = Path(roles.__file__).resolve().parent.parent

#: Which roles may what, by the permission that a page asks for. V, S, B, P, A as in ROLES.
TABLE = {
    "catalog.view_service": "VSBPA",
    "catalog.view_client": "VSBPA",
    "catalog.view_clientuser": "VSBPA",
    "catalog.view_product": "VSBPA",
    "catalog.view_apikey": "VSBPA",
    "invoicing.view_invoice": "VSBPA",
    "invoicing.view_run": "VSBPA",
    "invoicing.view_message": "VSBPA",
    "metering.view_server": "VSBPA",
    "metering.view_collection": "VSBPA",
    "metering.view_tenant": "VSBPA",
    "audit.view_entry": "VSBPA",
    "reports.view_report": "VSBPA",
    "metering.add_collection": "SBA",
    "catalog.add_client": "SBA",
    "catalog.change_client": "SBA",
    "catalog.view_as_client": "SA",
    "catalog.add_invitation": "SA",
    "catalog.change_invitation": "SA",
    "catalog.change_clientuser": "SA",
    "catalog.delete_clientuser": "SA",
    "catalog.change_apikey": "SA",
    "invoicing.add_post": "SBA",
    "invoicing.change_question": "SBA",
    "invoicing.change_message": "SBA",
    "metering.change_collection": "BA",
    "metering.add_correction": "BA",
    "metering.add_upload": "BA",
    "catalog.change_service": "BA",
    "catalog.add_service": "BA",
    "invoicing.add_run": "BA",
    "invoicing.add_invoice": "BA",
    "invoicing.add_payment": "BA",
    "invoicing.add_backbilling": "BA",
    "catalog.add_pricingversion": "PA",
    "catalog.change_metricsetting": "PA",
    "catalog.add_product": "PA",
    "catalog.change_product": "PA",
    "catalog.view_taxrate": "VSBPA",
    "catalog.add_taxrate": "BPA",
    "catalog.change_taxrate": "BPA",
    "catalog.delete_taxrate": "A",
    "catalog.add_override": "PA",
    "catalog.change_override": "PA",
    "invoicing.add_alert": "BPA",
    "catalog.backdate_pricing": "A",
    "invoicing.change_invoicingspan": "A",
    "catalog.change_user": "A",
    "metering.add_server": "A",
    "metering.change_server": "A",
    "metering.add_pushkey": "A",
    "metering.change_pushkey": "A",
}


def letters(role):
    return role[0].upper()


@pytest.mark.parametrize("permission", TABLE)
def test_each_role_has_what_the_table_says(permission):
    have = "".join(letters(role) for role in ROLES if staff_with(role).has_perm(permission))
    assert have == TABLE[permission]


@pytest.mark.parametrize(
    ("app", "model"),
    [("catalog", "user"), ("catalog", "invitation"), ("metering", "server"), ("auth", "group")],
)
def test_no_role_but_the_administrator_adds_deletes_or_changes_staff_and_servers(app, model):
    for role in ROLES[:-1]:
        user = staff_with(role)
        verbs = [verb for verb in ("add", "change", "delete") if user.has_perm(f"{app}.{verb}_{model}")]
        assert verbs == (["add", "change"] if (role, model) == ("support", "invitation") else [])


def test_a_viewer_has_no_right_that_changes_anything():
    held = staff_with("viewer").get_all_permissions()
    assert {each.partition(".")[2].partition("_")[0] for each in held} == {"view"}
    assert "catalog.view_as_client" not in held


def test_no_role_has_rights_over_djangos_own_records():
    """Groups, sessions, second factors and the job queue are for superusers: they lead to every right."""
    held = Permission.objects.filter(group__name__in=ROLES).values_list("content_type__app_label", flat=True)
    assert set(held.distinct()) <= set(roles.APPS)


def asked():
    """Every permission that a page of staff asks for."""
    found = set()
    for path in ROOT.glob("*/*.py"):
        if path.parent.name in (*roles.APPS, "billing_site"):
            found |= set(re.findall(r'(?:@staff|has_perm)\("([a-z_.]+)"\)', path.read_text()))
    return found


def test_every_permission_that_a_page_asks_for_exists_and_is_an_administrators():
    held = staff_with("administrator").get_all_permissions()
    assert len(asked()) > 20
    assert asked() - held == set()


def test_every_permission_that_a_role_names_exists():
    known = {f"{app}.{name}" for app, name in Permission.objects.values_list("content_type__app_label", "codename")}
    for role in ROLES:
        assert roles.of_role(role, known) - known == set()


def test_the_groups_are_brought_in_step_again():
    group = Group.objects.get(name="viewer")
    group.permissions.set(Permission.objects.filter(codename="add_invoice"))
    Group.objects.filter(name="support").delete()
    own = Group.objects.create(name="our own")
    own.permissions.set(Permission.objects.filter(codename="add_run"))
    call_command("migrate", verbosity=0)
    assert not group.permissions.filter(codename="add_invoice").exists()
    assert group.permissions.filter(codename="view_invoice").exists()
    assert Group.objects.get(name="support").permissions.exists()
    assert own.permissions.count() == 1


def test_in_step_already_they_are_not_touched():
    with CaptureQueriesContext(connection) as captured:
        call_command("migrate", verbosity=0)
    written = [each["sql"] for each in captured if "auth_group" in each["sql"] and not each["sql"].startswith("SELECT")]
    assert [sql for sql in written if "ON CONFLICT DO NOTHING" not in sql] == []


PAGES = [
    ("get", "staff_team", "A"),
    ("get", "staff_home", "VSBPA"),
    ("get", "staff_runs", "VSBPA"),
    ("get", "staff_servers", "VSBPA"),
    ("post", "staff_team_invite", "A"),
    ("post", "staff_usage_invoicing", "A"),
    ("post", "staff_preview", "BA"),
]


@pytest.mark.parametrize(("method", "name", "may"), PAGES)
@pytest.mark.parametrize("role", ROLES)
def test_pages_let_in_whom_the_table_says(client, role, method, name, may):
    """S4."""
    client.force_login(staff_with(role))
    is_refused = getattr(client, method)(reverse(name)).status_code == 403
    assert is_refused == (letters(role) not in may)


@pytest.mark.parametrize("name", ["staff_team", "staff_home", "staff_invoices", "staff_records"])
def test_neither_clients_nor_staff_without_a_role_get_in(client, name):
    """S5."""
    for user in (a_user(), a_user("bare@staff.test", is_staff=True)):
        client.force_login(user)
        response = client.get(reverse(name))
        assert response.status_code in (302, 403) or name == "staff_records"
        assert "tp-figure" not in response.content.decode()


@pytest.mark.parametrize("role", ROLES)
def test_who_may_what_on_the_pages_of_servers(client, role):
    server = a_server()
    client.force_login(staff_with(role))
    may_collect, may_edit = letters(role) in "SBA", letters(role) == "A"
    assert (client.post(reverse("staff_server_collect", args=[server.pk])).status_code != 403) == may_collect
    assert (client.get(reverse("staff_server_edit", args=[server.pk])).status_code != 403) == may_edit


@pytest.mark.parametrize("role", ROLES)
def test_who_may_what_in_djangos_admin(client, role):
    """S4: a forged post of somebody who may only look."""
    product, own, server = a_product(), a_client(), a_server()
    service = a_service(product, own, a_tenant(server))
    client.force_login(staff_with(role))
    for name, pk, may in [
        ("admin:catalog_service_change", service.pk, letters(role) in "BA"),
        ("admin:metering_tenant_change", service.tenant_id, letters(role) == "A"),
        ("admin:catalog_product_change", product.pk, letters(role) in "PA"),
        ("admin:catalog_client_change", own.pk, letters(role) in "SBA"),
    ]:
        assert client.get(reverse(name, args=[pk])).status_code == 200
        assert (client.post(reverse(name, args=[pk]), {"name": "x"}).status_code != 403) == may
    for name in ("admin:auth_group_changelist", "admin:auth_group_add"):
        assert client.get(reverse(name)).status_code == 403


def test_an_administrator_does_not_become_a_superuser_through_djangos_admin(client):
    """S20: rights are no fields of the form of whoever is no superuser."""
    administrator, nobody = staff_with("administrator"), a_user("nobody@client.test")
    client.force_login(administrator)
    address = reverse("admin:catalog_user_change", args=[nobody.pk])
    client.post(
        address,
        {"email": nobody.email, "name": "N", "is_active": "on", "is_staff": "on", "is_superuser": "on",
         "groups": [str(Group.objects.get(name="administrator").pk)], "user_permissions": ["1"]},
    )  # fmt: skip
    nobody.refresh_from_db()
    assert nobody.name == "N"
    assert not nobody.is_staff
    assert not nobody.is_superuser
    assert not nobody.groups.exists()
    for user in (administrator, a_staff_user("root@staff.test")):
        address = reverse("admin:catalog_user_change", args=[user.pk])
        client.post(address, {"email": user.email, "is_superuser": "on", "is_staff": "on", "is_active": "on"})
        assert client.get(reverse("admin:auth_user_password_change", args=[user.pk])).status_code == 403
    administrator.refresh_from_db()
    assert not administrator.is_superuser


def test_the_team_page_lists_staff_with_their_roles_and_no_client(client):
    administrator = staff_with("administrator")
    staff_with("billing")
    a_user("nina@client.test")
    client.force_login(administrator)
    shown = client.get(reverse("staff_team")).content.decode()
    assert "billing@staff.test" in shown
    assert "nina@client.test" not in shown


def test_an_administrator_gives_a_role_and_lets_somebody_in_no_more(client):
    client.force_login(staff_with("administrator"))
    user = staff_with("viewer")
    client.post(reverse("staff_team_role", args=[user.pk]), {"role": "billing"})
    assert [group.name for group in user.groups.all()] == ["billing"]
    client.post(reverse("staff_team_deactivate", args=[user.pk]))
    user.refresh_from_db()
    assert not user.is_active
    client.post(reverse("staff_team_activate", args=[user.pk]))
    user.refresh_from_db()
    assert user.is_active


def test_who_is_deactivated_is_signed_out(client, django_user_model):
    from django.test import Client as Browser

    user, browser = staff_with("viewer"), Browser()
    browser.force_login(user)
    assert browser.get(reverse("staff_home")).status_code == 200
    client.force_login(staff_with("administrator"))
    client.post(reverse("staff_team_deactivate", args=[user.pk]))
    assert browser.get(reverse("staff_home")).status_code == 302


def test_nobody_changes_their_own_rights(client):
    administrator = staff_with("administrator")
    staff_with("administrator", "second@staff.test")
    client.force_login(administrator)
    for name in ("staff_team_role", "staff_team_deactivate"):
        shown = client.post(reverse(name, args=[administrator.pk]), {"role": "viewer"}, follow=True).content.decode()
        assert "Nobody changes their own rights" in shown
    assert team.role_of(User.objects.get(pk=administrator.pk)) == "administrator"


def test_an_administrator_does_not_touch_a_superuser():
    administrator, root = staff_with("administrator"), a_staff_user()
    for deed in (team.deactivate, team.activate):
        with pytest.raises(Refused) as refused:
            deed(user=root, by=administrator)
        assert refused.value.why == Refused.ABOVE
    with pytest.raises(Refused):
        team.set_role(user=root, role="viewer", by=administrator)


def test_nobody_gives_more_than_they_have():
    """Somebody who was given the right to change users one by one, and is no administrator."""
    staff_with("administrator")
    user = staff_with("support")
    user.user_permissions.add(Permission.objects.get(codename="change_user"))
    user = User.objects.get(pk=user.pk)
    other = staff_with("viewer")
    with pytest.raises(Refused) as refused:
        team.set_role(user=other, role="administrator", by=user)
    assert refused.value.why == Refused.ABOVE
    team.set_role(user=other, role="support", by=user)


def test_the_last_administrator_stays():
    """Two superusers are left, and one demotes the other by a request that came too late for their own."""
    first, second = a_staff_user("1@staff.test"), a_staff_user("2@staff.test")
    team.set_role(user=second, role="viewer", by=first)
    second.refresh_from_db()
    assert not second.is_superuser
    second.is_superuser = True  # as the request of the second still believes
    with pytest.raises(Refused) as refused:
        team.deactivate(user=first, by=second)
    assert refused.value.why == Refused.LAST
    first.refresh_from_db()
    assert first.is_active


@pytest.mark.parametrize("role", ["god", "", "our own"])
def test_a_group_that_is_no_role_is_not_given(client, role):
    Group.objects.create(name="our own")
    client.force_login(staff_with("administrator"))
    user = staff_with("viewer")
    client.post(reverse("staff_team_role", args=[user.pk]), {"role": role})
    assert [group.name for group in user.groups.all()] == ["viewer"]


def test_a_client_user_is_no_member_of_the_team(client):
    client.force_login(staff_with("administrator"))
    user = a_user()
    assert client.post(reverse("staff_team_role", args=[user.pk]), {"role": "administrator"}).status_code == 404
    assert client.post(reverse("staff_team_deactivate", args=[user.pk])).status_code == 404


def test_an_administrator_invites_to_the_team(client):
    client.force_login(staff_with("administrator"))
    client.post(reverse("staff_team_invite"), {"email": "new@staff.test", "role": "pricing"})
    invitation = Invitation.objects.get()
    assert (invitation.group.name, invitation.client) == ("pricing", None)
    assert Message.objects.get().to == "new@staff.test"
    client.post(reverse("staff_team_again", args=[invitation.pk]))
    client.post(reverse("staff_team_revoke", args=[invitation.pk]))
    invitation.refresh_from_db()
    assert invitation.revoked_at
    assert invitation.revoked_at <= timezone.now()


def test_the_team_page_asks_as_often_for_many_as_for_few(client):
    client.force_login(staff_with("administrator"))
    client.get(reverse("staff_team"))

    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert client.get(reverse("staff_team")).status_code == 200
        return len(captured)

    few = queries()
    for number in range(6):
        staff_with("viewer", f"{number}@staff.test")
    assert queries() == few
    assert few <= 10
