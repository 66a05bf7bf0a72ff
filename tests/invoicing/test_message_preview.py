"""Staff see what a mail says, in a frame that can do nothing."""

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from catalog.invitations import new_digest, token_of
from catalog.models import Invitation
from invoicing.models import Message
from tests.builders import a_client, a_staff_user, a_user, at
from tests.invoicing.documents import an_invoice

pytestmark = pytest.mark.django_db

NOON = at("2026-11-19 12:00")


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(NOON)


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def a_message(**values):
    invoice = an_invoice("24", client=a_client("<script>alert(1)</script>"))
    values = {"kind": "issued", "client": invoice.client, "to": "sara@client.test", "created_at": NOON, **values}
    return Message.objects.create(**{"invoice": invoice, **values})


def shown(response):
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_a_page_has_subject_text_and_a_sandboxed_frame(ines):
    one = a_message()
    page = shown(ines.get(reverse("staff_message", args=[one.pk])))
    frame = reverse("staff_message_html", args=[one.pk])
    assert f"Invoice {one.invoice.number} from Northquay" in page
    assert f'src="{frame}" sandbox' in page
    assert "comes to $24.00 and is due on 15 November 2026" in page
    assert "<script>alert" not in page
    assert reverse("staff_message", args=[one.pk]) in shown(ines.get(reverse("staff_messages")))


def test_the_frame_has_a_policy_of_its_own_and_no_other_page_is_weaker_for_it(ines):
    one = a_message()
    frame = ines.get(reverse("staff_message_html", args=[one.pk]))
    policy = dict(part.strip().partition(" ")[::2] for part in frame["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == "'unsafe-inline'"
    assert policy["frame-ancestors"] == "'self'"
    assert "sandbox" in policy
    assert "script-src" not in policy
    assert frame["X-Frame-Options"] == "SAMEORIGIN"
    assert "no-store" in frame["Cache-Control"]
    assert "<script>alert" not in frame.content.decode()
    page = ines.get(reverse("staff_message", args=[one.pk]))
    assert "unsafe-inline" not in page["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in page["Content-Security-Policy"]
    assert page["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("kind", Message.Kind.values)
def test_each_kind_is_seen_in_each_language_before_any_was_sent(ines, kind):
    for language in ("en", "de", "fr", "es"):
        page = shown(ines.get(reverse("staff_message_kinds"), {"kind": kind, "language": language}))
        assert reverse("staff_message_kind_html", args=[kind, language]) in page
        frame = ines.get(reverse("staff_message_kind_html", args=[kind, language]))
        assert f'<html lang="{language}"' in frame.content.decode()
        assert frame["X-Frame-Options"] == "SAMEORIGIN"


def test_what_is_not_a_kind_or_a_language_does_not_exist(ines):
    assert ines.get(reverse("staff_message_kind_html", args=["gift", "en"])).status_code == 404
    assert ines.get(reverse("staff_message_kind_html", args=["issued", "tlh"])).status_code == 404
    assert ines.get(reverse("staff_message_kinds"), {"kind": "gift"}).status_code == 404
    assert ines.get(reverse("staff_message_kinds"), {"language": "../x"}).status_code == 200


def test_staff_cannot_become_somebody_else_by_looking_at_their_invitation(ines):
    invitation = Invitation.objects.create(
        client=a_client(), role="owner", email="n@client.test", digest=new_digest(),
        created_at=NOON, expires_at=at("2026-11-26 12:00"),
    )  # fmt: skip
    one = a_message(kind="invitation", invitation=invitation, invoice=None)
    token = token_of(invitation)
    for name in ("staff_message", "staff_message_html"):
        response = ines.get(reverse(name, args=[one.pk]))
        assert response.status_code == 200
        assert token not in response.content.decode()


def test_a_reminder_of_what_is_paid_says_that_it_is_not_sent(ines):
    invoice = an_invoice("0", due_on="2026-11-22")
    one = a_message(kind="due", invoice=invoice)
    assert "There is nothing to say any more" in shown(ines.get(reverse("staff_message", args=[one.pk])))
    assert ines.get(reverse("staff_message_html", args=[one.pk])).status_code == 404


def test_only_staff_with_the_right_may_look(client):
    one = a_message()
    addresses = [
        *(reverse(name, args=[one.pk]) for name in ("staff_message", "staff_message_html")),
        reverse("staff_message_kinds"),
        reverse("staff_message_kind_html", args=["issued", "en"]),
    ]
    assert {client.get(address).status_code for address in addresses} == {302}
    client.force_login(a_user())
    assert {client.get(address).status_code for address in addresses} == {403}
    helper = a_user("helper@staff.test", is_staff=True)
    client.force_login(helper)
    assert {client.get(address).status_code for address in addresses} == {403}
    helper.user_permissions.add(Permission.objects.get(codename="view_message"))
    assert {client.get(address).status_code for address in addresses} == {200}
    assert {client.post(address).status_code for address in addresses} == {405}


def test_pages_of_mails_take_as_many_queries_for_many_as_for_one(ines, django_assert_max_num_queries):
    for number in range(12):
        a_message(sent_at=NOON if number % 2 else None)
    ines.get(reverse("staff_messages"))
    with django_assert_max_num_queries(22):
        ines.get(reverse("staff_messages"))
