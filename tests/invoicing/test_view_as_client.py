"""Staff see the portal as a client does: what its owners see, nothing more, changing nothing, for half an hour."""

import pytest
from django.urls import reverse

from audit.models import Entry
from catalog.models import ApiKey, ClientUser, Invitation
from tests.builders import a_client, a_service, a_staff_user, a_user, at
from tests.people import api_key, client_user, staff_with

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"), tick=False)


@pytest.fixture
def northwind():
    client = a_client("Northwind")
    a_service(client=client, name="north.example")
    a_service(client=a_client("Southwind"), name="south.example")
    return client


def begun(client, northwind, user=None):
    client.force_login(user or staff_with("support"))
    return client.post(reverse("staff_view_as", args=[northwind.pk]), follow=True)


def test_it_shows_what_the_client_has_under_a_banner_and_nothing_of_others(client, northwind):
    assert "You see what <b>Northwind</b> sees" in begun(client, northwind).content.decode()
    shown = client.get(reverse("portal_services")).content.decode()
    assert "north.example" in shown
    assert "south.example" not in shown
    assert "You see what <b>Northwind</b> sees" in shown


def test_it_shows_the_pages_of_owners_too(client, northwind):
    begun(client, northwind)
    for name in ("portal_client_users", "portal_client_keys", "portal_client_data"):
        assert client.get(reverse(name)).status_code == 200


def test_another_client_is_404_as_for_the_clients_own_people(client, northwind):
    other = a_service(client=a_client("Other"))
    begun(client, northwind, a_staff_user())
    assert client.get(reverse("portal_service", args=[other.public_id])).status_code == 404
    assert client.get(reverse("portal_client_users_of", args=[other.client_id])).status_code == 404


def test_every_post_in_the_portal_is_refused_in_words(client, northwind):
    member = ClientUser.objects.get(user=client_user(northwind, "reader"))
    token = api_key(northwind)
    key = ApiKey.objects.get()
    begun(client, northwind, a_staff_user())
    for name, arguments, data in [
        ("portal_client_role", [northwind.pk, member.pk], {"role": "owner"}),
        ("portal_client_remove", [northwind.pk, member.pk], {}),
        ("portal_client_invite", [northwind.pk], {"email": "x@y.test", "role": "owner"}),
        ("portal_client_make_key", [northwind.pk], {"name": "mine", "days": "0"}),
        ("portal_client_revoke_key", [northwind.pk, key.pk], {}),
        ("portal_client_data_of", [northwind.pk], {"name": "Mine"}),
        ("account", [], {"name": "Somebody"}),
        ("accept_invitation", [], {}),
    ]:
        response = client.post(reverse(name, args=arguments), data)
        assert response.status_code == 403, name
        assert "You only look at what Northwind sees" in response.content.decode()
    assert token
    assert not Invitation.objects.exists()
    member.refresh_from_db()
    assert member.role == "reader"


def test_every_post_address_of_the_portal_is_refused(client, northwind):
    """Whatever is added later: the gate stands before all addresses outside of the staff area."""
    from django.urls import get_resolver

    begun(client, northwind, a_staff_user())
    names = {
        name
        for name in get_resolver().reverse_dict
        if isinstance(name, str) and not reverse_if_plain(name).startswith(("/admin/", "/api/"))
    } - {"stop_viewing", "account_logout"}
    assert {"home", "portal_services", "account_login"} <= names
    for name in names:
        if address := reverse_if_plain(name):
            response = client.post(address)
            assert response.status_code == 403, name


def reverse_if_plain(name):
    from django.urls import NoReverseMatch

    try:
        return reverse(name)
    except NoReverseMatch:
        return ""


def test_to_leave_ends_it_and_leads_back_to_the_client(client, northwind):
    begun(client, northwind)
    response = client.post(reverse("stop_viewing"))
    assert response["Location"] == reverse("staff_client", args=[northwind.pk])
    assert "You see what" not in client.get(reverse("staff_home")).content.decode()
    assert client.get(reverse("portal_client_users")).status_code == 404


def test_it_ends_by_itself_after_half_an_hour(client, northwind, time_machine):
    begun(client, northwind)
    time_machine.move_to(at("2026-11-19 09:29"), tick=False)
    assert client.get(reverse("portal_client_users")).status_code == 200
    time_machine.move_to(at("2026-11-19 09:30"), tick=False)
    assert client.get(reverse("portal_client_users")).status_code == 404


def test_it_ends_with_signing_out(client, northwind):
    begun(client, northwind)
    client.post(reverse("account_logout"))
    user = staff_with("support", "other@staff.test")
    client.force_login(user)
    assert client.get(reverse("portal_client_users")).status_code == 404


def test_it_ends_when_the_right_is_taken(client, northwind):
    user = staff_with("support")
    begun(client, northwind, user)
    user.groups.clear()
    assert client.get(reverse("portal_client_users")).status_code == 404


def test_who_is_a_client_and_views_as_another_sees_the_other_only(client, northwind):
    user = staff_with("support")
    own = a_client("Own")
    client_user(own, "owner", user.email)
    a_service(client=own, name="own.example")
    begun(client, northwind, user)
    shown = client.get(reverse("portal_services")).content.decode()
    assert "north.example" in shown
    assert "own.example" not in shown


@pytest.mark.parametrize("role", ["viewer", "billing", "pricing"])
def test_other_roles_may_not(client, northwind, role):
    assert begun(client, northwind, staff_with(role)).status_code == 403
    assert "viewing" not in client.session


def test_clients_may_not_and_nor_may_what_they_forge(client, northwind):
    user = a_user()
    assert begun(client, northwind, user).status_code == 403
    session = client.session
    session["viewing"] = {"client": northwind.pk, "until": "2030-01-01T00:00:00+00:00"}
    session.save()
    assert client.get(reverse("portal_client_users")).status_code == 404


def test_it_begins_by_post_only(client, northwind):
    client.force_login(staff_with("support"))
    assert client.get(reverse("staff_view_as", args=[northwind.pk])).status_code == 405
    assert client.post(reverse("staff_view_as", args=[10**9])).status_code == 404


def test_the_staff_area_keeps_its_own_rights_and_says_where_one_is(client, northwind):
    begun(client, northwind)
    shown = client.get(reverse("staff_services"))
    assert shown.status_code == 200
    assert "south.example" in shown.content.decode()
    assert "You see what <b>Northwind</b> sees" in shown.content.decode()


def test_the_records_say_it_too(client, northwind):
    begun(client, northwind)
    for name in ("admin:index", "admin:catalog_client_changelist"):
        assert "You see what <b>Northwind</b> sees" in client.get(reverse(name)).content.decode()
    client.post(reverse("stop_viewing"))
    assert "You see what" not in client.get(reverse("admin:catalog_client_changelist")).content.decode()


def test_when_it_began_and_ended_is_in_the_audit_log(client, northwind):
    user = staff_with("support")
    begun(client, northwind, user)
    client.post(reverse("stop_viewing"))
    entries = Entry.objects.filter(what__in=["view_as_began", "view_as_ended"]).order_by("id")
    assert [(entry.what, entry.actor_id) for entry in entries] == [
        ("view_as_began", user.pk),
        ("view_as_ended", user.pk),
    ]
    assert all(any(str(northwind.pk) in about for about in entry.about) for entry in entries)
