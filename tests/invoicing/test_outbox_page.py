"""The staff's page of mails."""

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from invoicing import outbox
from invoicing.models import Message
from tests.builders import a_client, a_staff_user, a_user, at

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def a_message(to="sara@client.test", created_at="2026-11-19 08:00", **values):
    client = values.pop("client", None) or a_client()
    return Message.objects.create(kind="issued", client=client, to=to, created_at=at(created_at), **values)


def shown(response):
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_it_shows_what_waits_what_failed_and_what_was_sent(ines):
    a_message("new@client.test")
    a_message("slow@client.test", attempts=2, error="451 later", retry_at=at("2026-11-19 09:30"))
    a_message("gone@client.test", attempts=outbox.MAX_ATTEMPTS, error="550 no such <user>")
    a_message("done@client.test", sent_at=at("2026-11-18 10:00"))
    page = shown(ines.get(reverse("staff_messages")))
    assert "2 wait, 1 failed" in page
    assert "550 no such &lt;user&gt;" in page
    assert "Next attempt: today, 09:30, after 2 of 6 attempts" in page
    assert "18 Nov, 10:00" in page
    assert page.count("Try again<") == 2
    assert "gone@client.test" not in shown(ines.get(reverse("staff_messages"), {"q": "done@"}))


def test_an_empty_outbox_says_what_would_be_in_it(ines):
    assert "No mail was sent yet." in shown(ines.get(reverse("staff_messages")))


def test_try_again_makes_one_due_at_once_with_all_its_attempts(ines):
    failed = a_message(attempts=outbox.MAX_ATTEMPTS, error="550")
    other = a_message("b@client.test", attempts=outbox.MAX_ATTEMPTS, error="550")
    page = shown(ines.post(reverse("staff_message_again", args=[failed.pk]), follow=True))
    assert "goes out within five minutes" in page
    assert outbox.due(at("2026-11-19 09:00")).get() == failed
    assert outbox.given_up().get() == other
    ines.post(reverse("staff_messages_again"))
    assert outbox.due(at("2026-11-19 09:00")).count() == 2


def test_what_was_sent_cannot_be_tried_again(ines):
    done = a_message(sent_at=at("2026-11-18 10:00"), attempts=1)
    page = shown(ines.post(reverse("staff_message_again", args=[done.pk]), follow=True))
    assert "was sent already" in page
    assert not outbox.waiting().exists()


def test_nothing_happens_by_looking(ines):
    failed = a_message(attempts=outbox.MAX_ATTEMPTS)
    assert ines.get(reverse("staff_message_again", args=[failed.pk])).status_code == 405
    assert ines.get(reverse("staff_messages_again")).status_code == 405


def test_only_staff_with_the_right_may_look_or_try_again(client):
    failed = a_message(attempts=outbox.MAX_ATTEMPTS)
    address = reverse("staff_messages")
    again = [reverse("staff_message_again", args=[failed.pk]), reverse("staff_messages_again")]
    assert client.get(address).status_code == 302
    client.force_login(a_user())
    assert {client.get(address).status_code, *(client.post(each).status_code for each in again)} == {403}
    helper = a_user("helper@staff.test", is_staff=True)
    helper.user_permissions.add(Permission.objects.get(codename="view_message"))
    client.force_login(helper)
    assert "Try again" not in shown(client.get(address))
    assert {client.post(each).status_code for each in again} == {403}
    failed.refresh_from_db()
    assert failed.attempts == outbox.MAX_ATTEMPTS


def test_mails_given_up_need_a_person_today(ines):
    assert "could not be sent" not in shown(ines.get(reverse("staff_home")))
    a_message(attempts=outbox.MAX_ATTEMPTS)
    page = shown(ines.get(reverse("staff_home")))
    assert "1 mail could not be sent" in page
    assert "1 thing needs a person today" in page


@pytest.mark.parametrize("name", ["staff_messages", "staff_home"])
def test_the_number_of_queries_does_not_grow_with_the_mails(ines, name, django_assert_max_num_queries):
    for number in range(60):
        a_message(f"{number}@client.test", sent_at=at("2026-11-18 10:00") if number % 2 else None)
    with django_assert_max_num_queries(30):
        ines.get(reverse(name))
