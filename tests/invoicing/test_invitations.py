"""Invitations: by mail, to an address, for a while, once; and they open no account that exists."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from catalog.invitations import invitation_link, token_of
from catalog.models import ClientUser, Invitation, Role, User
from invoicing import inviting
from invoicing.inviting import CannotInvite, Gone, HasAccount
from invoicing.models import Message
from tests.builders import a_client, a_user, at
from tests.people import client_user, staff_with

pytestmark = pytest.mark.django_db

PASSWORD = "Kaistrasse-4711"


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"), tick=False)


def invited(email="nina@client.test", role=Role.BILLING, client=None, by=None):
    return inviting.invite(client=client or a_client("Northwind"), email=email, role=role, by=by, at=timezone.now())


def opened(client, invitation):
    """The page that the link of an invitation leads to."""
    return client.get(invitation_link(invitation).removeprefix(settings.SITE_ADDRESS), follow=True)


def accepted(client, name="Nina", password=PASSWORD):
    return client.post(reverse("accept_invitation"), {"name": name, "password": password}, follow=True)


def test_to_invite_somebody_queues_a_mail_in_the_same_transaction(client):
    own = a_client("Northwind")
    owner = client_user(own, "owner")
    client.force_login(owner)
    client.post(reverse("portal_client_invite", args=[own.pk]), {"email": "Nina@Client.test", "role": "billing"})
    invitation = Invitation.objects.get()
    assert (invitation.email, invitation.role, invitation.client, invitation.invited_by) == (
        "nina@client.test", "billing", own, owner,
    )  # fmt: skip
    assert invitation.expires_at == at("2026-11-26 09:00")
    message = Message.objects.get()
    assert (message.kind, message.to, message.invitation, message.client, message.step) == (
        "invitation", "nina@client.test", invitation, own, 0,
    )  # fmt: skip


def test_a_new_person_sets_a_name_and_a_password_and_is_in(client):
    invitation = invited()
    shown = opened(client, invitation).content.decode()
    assert "Join Northwind" in shown
    assert "nina@client.test" in shown
    response = accepted(client)
    assert response.redirect_chain == [(reverse("home"), 302)]
    user = User.objects.get(email="nina@client.test")
    assert response.context["user"] == user
    assert user.name == "Nina"
    assert user.check_password(PASSWORD)
    assert not user.is_staff
    assert ClientUser.objects.get(user=user).role == "billing"
    invitation.refresh_from_db()
    assert (invitation.accepted_at, invitation.accepted_by) == (timezone.now(), user)


def test_the_token_stands_in_no_address_after_the_first(client):
    invitation = invited()
    address = reverse("invitation", args=[token_of(invitation)])
    first = client.get(address)
    assert first["Referrer-Policy"] == "no-referrer"
    assert first["Location"] == reverse("accept_invitation")
    assert "no-store" in first["Cache-Control"]
    assert token_of(invitation) not in opened(client, invitation).content.decode()


@pytest.mark.parametrize("password", ["", "short", "password", "nina@client.test", "12345678"])
def test_a_poor_password_is_refused_by_the_rules_of_the_site(client, password):
    invitation = invited()
    opened(client, invitation)
    response = accepted(client, password=password)
    assert response.status_code == 200
    assert "is-invalid" in response.content.decode()
    assert not User.objects.exists()
    invitation.refresh_from_db()
    assert invitation.accepted_at is None


def test_it_is_accepted_once(client):
    invitation = invited()
    opened(client, invitation)
    accepted(client)
    second = Browser()
    response = opened(second, invitation)
    assert response.status_code == 404
    assert "This invitation is over" in response.content.decode()
    assert accepted(second, name="Mallory").status_code == 404
    assert User.objects.get().name == "Nina"


@pytest.mark.parametrize("how", ["revoked", "too old", "sent anew", "made up", "of another site"])
def test_one_page_says_that_it_is_over_whatever_the_reason(client, how, time_machine):
    invitation, other = invited(), Browser()
    opened(other, invitation)
    if how == "revoked":
        inviting.revoke(invitation=invitation, at=timezone.now())
    elif how == "too old":
        time_machine.move_to(at("2026-11-26 09:01"), tick=False)
    elif how == "sent anew":
        inviting.send_again(invitation=invitation, at=timezone.now())
    token = {"made up": f"{invitation.pk}-AAAA", "of another site": "%00é"}.get(how, token_of(invitation))
    response = client.get(f"/invitation/{token}/")
    assert response.status_code == 404
    assert "This invitation is over" in response.content.decode()
    assert response["Referrer-Policy"] == "no-referrer"
    if how not in ("made up", "of another site"):
        assert accepted(other).status_code == 404
        assert not User.objects.exists()


def test_the_page_does_not_tell_whether_the_address_has_an_account(client):
    """S16: the same words for both, up to the address itself."""
    a_user("old@client.test", PASSWORD)
    own = a_client("Northwind")
    pages = []
    for email in ("old@client.test", "new@client.test"):
        browser = Browser()
        shown = opened(browser, invited(email, client=own)).content.decode()
        token = browser.cookies["csrftoken"].value if "csrftoken" in browser.cookies else ""
        shown = shown.replace(email, "ADDRESS").replace(token or "-no-", "")
        pages.append("\n".join(line for line in shown.splitlines() if "csrfmiddlewaretoken" not in line))
    assert pages[0] == pages[1]


def test_an_account_that_exists_is_not_taken_over(client):
    """Whoever holds the link but does not sign in gets nothing of the account, and does not change its password."""
    old = a_user("old@client.test", PASSWORD, name="Old")
    invitation = invited("old@client.test")
    opened(client, invitation)
    response = accepted(client, name="Mallory", password="Mallory-4711-xyz")
    assert response.redirect_chain[-1][0].startswith(reverse("account_login"))
    assert "_auth_user_id" not in client.session
    old.refresh_from_db()
    assert old.name == "Old"
    assert old.check_password(PASSWORD)
    assert not ClientUser.objects.exists()


def test_who_has_an_account_signs_in_and_joins(client):
    own = a_client("Northwind")
    old = a_user("old@client.test", PASSWORD)
    opened(client, invited("Old@client.test", role=Role.READER, client=own))
    response = client.post(
        f"{reverse('account_login')}?next={reverse('accept_invitation')}",
        {"login": "old@client.test", "password": PASSWORD},
        follow=True,
    )
    assert "Accept the invitation" in response.content.decode()
    assert not ClientUser.objects.exists()
    client.post(reverse("accept_invitation"))
    assert ClientUser.objects.get(user=old, client=own).role == "reader"


def test_somebody_else_who_is_signed_in_does_not_join(client):
    other = a_user("other@client.test")
    invitation = invited()
    client.force_login(other)
    shown = opened(client, invitation).content.decode()
    assert "signed in as other@client.test" in shown
    accepted(client)
    assert not ClientUser.objects.exists()
    assert not User.objects.filter(email="nina@client.test").exists()
    with pytest.raises(Gone):
        inviting.accept(invitation=invitation, user=other, at=timezone.now())


def test_two_browsers_at_once_make_one_user():
    invitation = invited()
    inviting.accept_as_new(invitation=invitation, name="A", password=PASSWORD, at=timezone.now())
    with pytest.raises(Gone):
        inviting.accept_as_new(invitation=invitation, name="B", password=PASSWORD, at=timezone.now())
    own = a_client("Second")
    with pytest.raises(HasAccount):
        inviting.accept_as_new(invitation=invited(client=own), name="B", password=PASSWORD, at=timezone.now())
    assert User.objects.get().name == "A"


def test_a_page_that_was_open_when_it_was_sent_anew_accepts_nothing():
    invitation = invited()
    inviting.send_again(invitation=invitation, at=timezone.now())
    with pytest.raises(Gone):
        inviting.accept_as_new(invitation=invitation, name="A", password=PASSWORD, at=timezone.now())
    assert not User.objects.exists()


def test_fields_of_a_user_that_are_posted_besides_are_not_taken(client):
    """S20."""
    opened(client, invited(role=Role.READER))
    client.post(
        reverse("accept_invitation"),
        {
            "name": "Nina", "password": PASSWORD, "email": "root@staff.test", "is_staff": "on", "is_superuser": "on",
            "is_active": "", "role": "owner", "client": "1", "groups": "1", "user_permissions": "1", "id": "1",
            "language": "de", "group": "1",
        },
    )  # fmt: skip
    user = User.objects.get()
    assert (user.email, user.is_staff, user.is_superuser, user.language) == ("nina@client.test", False, False, "")
    assert not user.groups.exists()
    assert ClientUser.objects.get(user=user).role == "reader"


def test_who_belongs_to_the_client_or_is_invited_already_is_not_invited():
    own = a_client()
    client_user(own, "reader", "in@client.test")
    invited("out@client.test", client=own)
    for email, why in [("IN@client.test", CannotInvite.MEMBER), ("Out@client.test", CannotInvite.INVITED)]:
        with pytest.raises(CannotInvite) as refused:
            invited(email, client=own)
        assert refused.value.why == why
    assert Message.objects.count() == 1


def test_an_address_whose_invitation_is_too_old_is_invited_anew(time_machine):
    own = a_client()
    first = invited(client=own)
    time_machine.move_to(at("2026-11-27 09:00"), tick=False)
    second = invited(client=own)
    first.refresh_from_db()
    assert first.revoked_at == timezone.now()
    assert second.pk != first.pk


def test_sent_again_it_has_another_link_and_another_week(client):
    own = a_client()
    invitation = invited(client=own)
    old = token_of(invitation)
    client.force_login(client_user(own, "owner"))
    client.post(reverse("portal_client_again", args=[own.pk, invitation.pk]))
    invitation.refresh_from_db()
    assert token_of(invitation) != old
    assert list(Message.objects.values_list("step", flat=True).order_by("step")) == [0, 1]


def test_nobodys_mailbox_is_filled():
    invitation = invited()
    for _ in range(inviting.MOST_SENT - 1):
        inviting.send_again(invitation=invitation, at=timezone.now())
    with pytest.raises(CannotInvite):
        inviting.send_again(invitation=invitation, at=timezone.now())
    assert Message.objects.count() == inviting.MOST_SENT
    own = a_client("Many")
    Invitation.objects.bulk_create(
        Invitation(
            client=own, role="reader", email=f"{number}@x.test", digest=f"d{number}",
            created_at=timezone.now(), expires_at=timezone.now() + timedelta(days=1),
        )
        for number in range(inviting.MOST_OPEN)
    )  # fmt: skip
    with pytest.raises(CannotInvite):
        invited("more@x.test", client=own)


def test_an_invitation_of_another_client_is_not_reached(client):
    """S1."""
    theirs = invited(client=a_client("Other"))
    own = a_client("Own")
    client.force_login(client_user(own, "owner"))
    for name in ("portal_client_revoke", "portal_client_again"):
        for owner in (own.pk, theirs.client_id):
            assert client.post(reverse(name, args=[owner, theirs.pk])).status_code == 404
    theirs.refresh_from_db()
    assert theirs.revoked_at is None
    assert Message.objects.count() == 1


def test_tries_are_limited(client):
    for _ in range(30):
        assert client.get("/invitation/1-x/").status_code == 404
    assert client.get("/invitation/1-x/").status_code == 429
    assert opened(client, invited()).status_code == 429


def test_staff_invite_to_any_client(client):
    own = a_client("Northwind")
    client.force_login(staff_with("support"))
    client.post(reverse("staff_client_invite", args=[own.pk]), {"email": "nina@client.test", "role": "owner"})
    invitation = Invitation.objects.get(client=own)
    client.post(reverse("staff_client_again", args=[own.pk, invitation.pk]))
    client.post(reverse("staff_client_revoke", args=[own.pk, invitation.pk]))
    invitation.refresh_from_db()
    assert invitation.revoked_at
    assert Message.objects.count() == 2


def test_an_invitation_to_staff_gives_the_role_and_no_other_right(client):
    group = Group.objects.get(name="billing")
    invitation = inviting.invite_staff(group=group, email="new@staff.test", by=None, at=timezone.now())
    assert "staff" in opened(client, invitation).content.decode()
    accepted(client)
    user = User.objects.get(email="new@staff.test")
    assert (user.is_staff, user.is_superuser, list(user.groups.all())) == (True, False, [group])


def test_an_invitation_to_staff_does_not_change_the_role_of_who_is_staff():
    user = staff_with("viewer", "old@staff.test")
    group = Group.objects.get(name="administrator")
    with pytest.raises(CannotInvite):
        inviting.invite_staff(group=group, email="Old@staff.test", by=None, at=timezone.now())
    user.is_active = False
    user.save()
    invitation = inviting.invite_staff(group=group, email="old@staff.test", by=None, at=timezone.now())
    with pytest.raises(Gone):
        inviting.accept(invitation=invitation, user=user, at=timezone.now())


def test_the_page_asks_a_few_questions_only(client):
    invitation = invited()
    opened(client, invitation)
    with CaptureQueriesContext(connection) as captured:
        client.get(reverse("accept_invitation"))
    assert len(captured) <= 4
