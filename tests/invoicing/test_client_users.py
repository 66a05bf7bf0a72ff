"""Who may act for a client: roles, who is taken off, and that no client's people reach another's."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog import memberships
from catalog.memberships import LastOwner
from catalog.models import ApiKey, ClientUser, Invitation, Role
from catalog.permissions import MAY, Deed, may
from invoicing.models import Message
from tests.builders import a_client, a_service, a_user, at
from tests.people import api_key, client_user, staff_with

pytestmark = pytest.mark.django_db

OWNERS_PAGES = ["portal_client_users", "portal_client_keys", "portal_client_data"]


def names_of(client):
    return set(ClientUser.objects.filter(client=client).values_list("user__email", flat=True))


def post(client, address, /, *arguments, **data):
    return client.post(reverse(address, args=arguments), data, follow=True)


@pytest.mark.parametrize(
    ("role", "deeds"),
    [
        ("owner", {"see", "alerts", "questions", "users", "keys", "data"}),
        ("billing", {"see", "alerts", "questions"}),
        ("reader", {"see"}),
        ("landlord", set()),
    ],
)
def test_what_a_role_may_is_said_in_one_place(role, deeds):
    assert {deed.value for deed in Deed if may(role, deed)} == deeds
    assert set(MAY) == set(Role)


@pytest.mark.parametrize("page", OWNERS_PAGES)
@pytest.mark.parametrize(("role", "status"), [("owner", 200), ("billing", 403), ("reader", 403)])
def test_only_owners_get_to_the_pages_of_users_keys_and_data(client, page, role, status):
    client.force_login(client_user(a_client(), role))
    response = client.get(reverse(page))
    assert response.status_code == status
    if status == 403:
        assert "nly an owner" in response.content.decode()


@pytest.mark.parametrize("page", OWNERS_PAGES)
def test_pages_of_a_client_do_not_exist_for_who_has_none(client, page):
    client.force_login(a_user())
    assert client.get(reverse(page)).status_code == 404
    client.force_login(staff_with("administrator"))
    assert client.get(reverse(page)).status_code == 404


@pytest.mark.parametrize("page", ["portal_client_users_of", "portal_client_keys_of", "portal_client_data_of"])
def test_the_pages_of_another_client_are_like_those_that_do_not_exist(client, page):
    """S1."""
    other = a_client("Other")
    client.force_login(client_user(a_client(), "owner"))
    assert client.get(reverse(page, args=[other.pk])).status_code == 404
    assert client.get(reverse(page, args=[10**9])).status_code == 404


def test_who_owns_one_client_and_reads_another_is_refused_in_words_there(client):
    own, read = a_client("Own"), a_client("Read")
    user = client_user(own, "owner", "both@client.test")
    client_user(read, "reader", "both@client.test")
    client.force_login(user)
    assert client.get(reverse("portal_client_users")).context["client"] == own
    assert client.get(reverse("portal_client_users_of", args=[read.pk])).status_code == 403
    assert post(client, "portal_client_invite", read.pk, email="x@y.test", role="owner").status_code == 403
    assert not Invitation.objects.exists()


def test_who_belongs_to_several_clients_sees_what_each_has_and_nothing_of_others(client):
    """S2, S3."""
    first, second, other = a_client("First"), a_client("Second"), a_client("Other")
    user = client_user(first, "owner", "both@client.test")
    client_user(second, "reader", "both@client.test")
    for each in (first, second, other):
        a_service(client=each, name=f"site of {each}")
    client.force_login(user)
    shown = client.get(reverse("portal_services")).content.decode()
    assert "site of First" in shown
    assert "site of Second" in shown
    assert "site of Other" not in shown
    assert "site of Other" not in client.get(reverse("portal_services"), {"client": other.pk}).content.decode()


def test_who_is_taken_off_sees_nothing_at_the_next_request(client):
    """S3."""
    own = a_client()
    service = a_service(client=own)
    reader = client_user(own, "reader")
    client_user(own, "owner")
    client.force_login(reader)
    address = reverse("portal_service", args=[service.public_id])
    assert client.get(address).status_code == 200
    memberships.remove(member=ClientUser.objects.get(user=reader), at=at("2026-11-19 09:00"))
    assert client.get(address).status_code == 404


def test_a_role_is_effective_at_the_next_request(client):
    own = a_client()
    owner, colleague = client_user(own, "owner"), client_user(own, "reader")
    client.force_login(colleague)
    assert client.get(reverse("portal_client_keys")).status_code == 403
    memberships.set_role(member=ClientUser.objects.get(user=colleague), role=Role.OWNER)
    assert client.get(reverse("portal_client_keys")).status_code == 200
    memberships.set_role(member=ClientUser.objects.get(user=owner), role=Role.READER)
    client.force_login(owner)
    assert client.get(reverse("portal_client_keys")).status_code == 403


def test_an_owner_changes_roles_and_removes_people(client):
    own = a_client()
    client.force_login(client_user(own, "owner"))
    reader = ClientUser.objects.get(user=client_user(own, "reader"))
    post(client, "portal_client_role", own.pk, reader.pk, role="billing")
    reader.refresh_from_db()
    assert reader.role == "billing"
    post(client, "portal_client_remove", own.pk, reader.pk)
    assert not ClientUser.objects.filter(pk=reader.pk).exists()


def test_a_role_that_does_not_exist_changes_nothing(client):
    own = a_client()
    client.force_login(client_user(own, "owner"))
    reader = ClientUser.objects.get(user=client_user(own, "reader"))
    assert (
        "Choose one of the roles" in post(client, "portal_client_role", own.pk, reader.pk, role="god").content.decode()
    )
    reader.refresh_from_db()
    assert reader.role == "reader"


@pytest.mark.parametrize("name", ["portal_client_role", "portal_client_remove"])
def test_the_last_owner_stays(client, name):
    own = a_client()
    owner = client_user(own, "owner")
    client_user(own, "billing")
    client.force_login(owner)
    member = ClientUser.objects.get(user=owner)
    assert "needs an owner" in post(client, name, own.pk, member.pk, role="reader").content.decode()
    member.refresh_from_db()
    assert member.role == "owner"


def test_an_owner_who_cannot_sign_in_does_not_count_as_one():
    own = a_client()
    client_user(own, "owner", "gone@client.test", is_active=False)
    last = ClientUser.objects.get(user=client_user(own, "owner"))
    with pytest.raises(LastOwner):
        memberships.remove(member=last, at=at("2026-11-19 09:00"))


def test_whoever_takes_themselves_off_lands_on_a_page_that_is_theirs(client):
    own = a_client()
    client_user(own, "owner", "other@client.test")
    owner = client_user(own, "owner")
    client.force_login(owner)
    response = post(client, "portal_client_remove", own.pk, ClientUser.objects.get(user=owner).pk)
    assert response.redirect_chain[-1] == (reverse("home"), 302)
    assert response.status_code == 200


def test_who_is_taken_off_is_not_let_in_by_an_invitation_that_waits():
    own = a_client()
    client_user(own, "owner")
    member = ClientUser.objects.get(user=client_user(own, "reader", "twice@client.test"))
    waiting = Invitation.objects.create(
        client=own, role="owner", email="Twice@client.test", digest="x",
        created_at=at("2026-11-19 09:00"), expires_at=at("2026-11-26 09:00"),
    )  # fmt: skip
    memberships.remove(member=member, at=at("2026-11-19 10:00"))
    waiting.refresh_from_db()
    assert waiting.revoked_at == at("2026-11-19 10:00")


@pytest.mark.parametrize("name", ["portal_client_role", "portal_client_remove"])
def test_an_owner_does_not_reach_people_of_another_client(client, name):
    """S1: a member's number of another client, at the address of one's own."""
    own, other = a_client("Own"), a_client("Other")
    client.force_login(client_user(own, "owner"))
    theirs = ClientUser.objects.get(user=client_user(other, "reader"))
    assert post(client, name, own.pk, theirs.pk, role="owner").status_code == 404
    assert post(client, name, other.pk, theirs.pk, role="owner").status_code == 404
    theirs.refresh_from_db()
    assert theirs.role == "reader"


@pytest.mark.parametrize("role", ["billing", "reader"])
def test_other_roles_post_nothing(client, role):
    own = a_client()
    owner = ClientUser.objects.get(user=client_user(own, "owner"))
    token = api_key(own)
    key = ApiKey.objects.get()
    client.force_login(client_user(own, role))
    me = ClientUser.objects.get(role=role)
    for name, arguments, data in [
        ("portal_client_role", [own.pk, me.pk], {"role": "owner"}),
        ("portal_client_remove", [own.pk, owner.pk], {}),
        ("portal_client_invite", [own.pk], {"email": "x@y.test", "role": "owner"}),
        ("portal_client_make_key", [own.pk], {"name": "mine", "days": "0"}),
        ("portal_client_revoke_key", [own.pk, key.pk], {}),
        ("portal_client_data_of", [own.pk], {"name": "Mine"}),
    ]:
        assert post(client, name, *arguments, **data).status_code == 403, name
    me.refresh_from_db()
    assert me.role == role
    assert names_of(own) == {owner.user.email, me.user.email}
    assert token
    assert ApiKey.objects.get().revoked_at is None


def test_an_owner_changes_what_invoices_say_and_nothing_else_of_the_client(client):
    """S20: every field of the client and more is posted; only those of the form are taken."""
    own = a_client("Before")
    client.force_login(client_user(own, "owner"))
    response = post(
        client, "portal_client_data_of", own.pk,
        name="After", address="Kaistraße 1\nHamburg", tax_number="DE123", email="bills@after.test", language="de",
        currency="EUR", id="999", pk="999", users="1", created_at="2000-01-01", balance="0", is_staff="on",
        is_superuser="on", role="owner", services="1",
    )  # fmt: skip
    assert "Saved" in response.content.decode()
    own.refresh_from_db()
    assert (own.name, own.address, own.tax_number, own.email, own.language) == (
        "After", "Kaistraße 1\nHamburg", "DE123", "bills@after.test", "de",
    )  # fmt: skip
    assert own.currency == "USD"
    assert own.created_at.year > 2000
    owner = own.users.get()
    assert not owner.is_staff
    assert not owner.is_superuser


def test_data_that_is_refused_is_kept_in_the_form_and_not_stored(client):
    own = a_client("Before")
    client.force_login(client_user(own, "owner"))
    shown = post(client, "portal_client_data_of", own.pk, name="", email="nowhere", language="tlh").content.decode()
    assert "nowhere" in shown
    assert "Before" in shown
    own.refresh_from_db()
    assert own.name == "Before"


def test_a_get_changes_nothing(client):
    own = a_client()
    client.force_login(client_user(own, "owner"))
    member = ClientUser.objects.get(user=client_user(own, "reader"))
    for name in ("portal_client_role", "portal_client_remove"):
        assert client.get(reverse(name, args=[own.pk, member.pk])).status_code == 405
    assert ClientUser.objects.filter(pk=member.pk, role="reader").exists()


def test_names_are_written_as_text(client):
    """S7: of users, clients and keys."""
    own = a_client("<b>Client</b>")
    client_user(own, "reader", "x@client.test", name="<img src=x onerror=alert(1)>")
    api_key(own, "<script>alert(1)</script>")
    client.force_login(client_user(own, "owner"))
    for page in OWNERS_PAGES:
        shown = client.get(reverse(page)).content.decode()
        assert "<script>alert" not in shown
        assert "<img src=x" not in shown
        assert "<b>Client" not in shown


@pytest.mark.parametrize("page", [*OWNERS_PAGES, "staff_client_users"])
def test_pages_ask_as_often_for_many_people_as_for_few(client, page):
    own = a_client()
    is_staff = page.startswith("staff")
    client.force_login(staff_with("administrator") if is_staff else client_user(own, "owner"))
    address = reverse(page, args=[own.pk] if is_staff else [])

    def queries():
        with CaptureQueriesContext(connection) as captured:
            assert client.get(address).status_code == 200
        return len(captured)

    client.get(address)
    few = queries()
    for number in range(7):
        client_user(own, "reader", f"{number}@client.test")
        api_key(own, f"key {number}")
        invitation = Invitation.objects.create(
            client=own, role="owner", email=f"{number}@new.test", digest=str(number),
            created_at=at("2026-11-19 09:00"), expires_at=at("2026-11-26 09:00"),
        )  # fmt: skip
        Message.objects.create(
            kind="invitation", invitation=invitation, to="x@y.test", created_at=at("2026-11-19 09:00")
        )
    assert queries() == few
    assert few <= 14
