"""A client questions a line of an invoice, staff answer, and both find it where they look."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog.models import ClientUser, Role
from invoicing import questions
from invoicing.models import Message, Post, Question
from tests.builders import a_client, a_product, a_server, a_service, a_staff_user, a_tenant, a_user, at
from tests.invoicing.documents import fee, issued
from tests.invoicing.pages import allow, see, words

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _day(time_machine):
    time_machine.move_to(at("2026-11-19 09:00"))


def a_line(role=Role.OWNER, name="Lindqvist & Moe", email="sara@client.test"):
    """A line of an invoice of a client, and somebody of it with a role."""
    sara = a_user(email)
    owner = a_client(name, users=(sara,))
    ClientUser.objects.filter(client=owner, user=sara).update(role=role)
    service = a_service(a_product(f"Web of {name}"), owner, a_tenant(a_server(f"panel of {name}")))
    invoice = issued(owner, fee(service))
    return invoice.lines.get(), sara


def ask(client, line, text="Why is this 24 dollars?"):
    return client.post(reverse("portal_ask", args=[line.invoice_id, line.pk]), {"text": text}, follow=True)


def test_who_asks_finds_the_question_on_the_line_and_on_the_invoice(client):
    line, sara = a_line()
    client.force_login(sara)
    assert "Question this line" in see(client, "portal_invoice", line.invoice_id)
    said = words(ask(client, line))
    assert "Why is this 24 dollars?" in said
    assert "You asked; the answer will come" in see(client, "portal_invoice", line.invoice_id)


def test_staff_find_it_answer_it_and_the_client_is_told(client):
    line, sara = a_line()
    ines = a_staff_user("ines@staff.test")
    client.force_login(sara)
    ask(client, line)
    client.force_login(ines)
    assert "Why is this 24 dollars?" in see(client, "staff_questions")
    question = Question.objects.get()
    client.post(reverse("staff_answer", args=[question.pk]), {"text": "It is the fixed price."})
    assert "No question is open" not in see(client, "staff_questions")
    assert [each.to for each in Message.objects.filter(post__is_of_staff=True)] == ["sara@client.test"]
    client.force_login(sara)
    said = see(client, "portal_line", line.invoice_id, line.pk)
    assert "It is the fixed price." in said
    assert "ines@staff.test" not in said
    assert "Question answered" in see(client, "portal_invoice", line.invoice_id)


@override_settings(SUPPORT_EMAIL="")
def test_without_an_address_of_support_whoever_may_answer_is_told():
    line, sara = a_line()
    ines, noor = a_staff_user("ines@staff.test"), a_user("noor@staff.test", is_staff=True)
    a_user("kim@staff.test", is_staff=True)
    allow(noor, "change_question")
    questions.ask(line=line, text="Why?", by=sara, at=at("2026-11-19 09:00"))
    assert set(Message.objects.values_list("to", flat=True)) == {ines.email, noor.email}


@override_settings(SUPPORT_EMAIL="billing@provider.test")
def test_the_address_of_support_is_told_once_a_post():
    line, sara = a_line()
    a_staff_user()
    for text in ("Why?", "And why now?"):
        questions.ask(line=line, text=text, by=sara, at=at("2026-11-19 09:00"))
    assert list(Message.objects.values_list("to", flat=True)) == ["billing@provider.test"] * 2
    assert Question.objects.count() == 1


def test_only_owners_and_billing_are_told_of_an_answer():
    line, sara = a_line()
    reader = a_user("ole@client.test")
    ClientUser.objects.create(client=line.invoice.client, user=reader, role=Role.READER)
    thread = questions.ask(line=line, text="Why?", by=sara, at=at("2026-11-19 09:00"))
    questions.answer(question=thread, text="So.", by=a_staff_user(), at=at("2026-11-19 10:00"))
    assert list(Message.objects.filter(post__is_of_staff=True).values_list("user", flat=True)) == [sara.pk]


def test_a_closed_question_is_followed_by_another_one(client):
    line, sara = a_line()
    client.force_login(sara)
    ask(client, line)
    client.post(reverse("portal_question_close", args=[Question.objects.get().pk]))
    assert "Question closed" in see(client, "portal_invoice", line.invoice_id)
    ask(client, line, "And this?")
    assert Question.objects.filter(closed_at__isnull=False).count() == 1
    assert Question.objects.filter(closed_at=None).count() == 1


def test_staff_write_nothing_in_a_thread_that_was_closed_meanwhile(client):
    line, sara = a_line()
    thread = questions.ask(line=line, text="Why?", by=sara, at=at("2026-11-19 09:00"))
    questions.close(question=thread, by=sara, at=at("2026-11-19 09:30"))
    client.force_login(a_staff_user())
    response = client.post(reverse("staff_answer", args=[thread.pk]), {"text": "So."}, follow=True)
    assert "closed meanwhile" in words(response)
    assert Post.objects.count() == 1


def test_an_answer_while_the_client_closes_the_question_is_told_so(client, monkeypatch):
    line, sara = a_line()
    thread = questions.ask(line=line, text="Why?", by=sara, at=at("2026-11-19 09:00"))
    client.force_login(a_staff_user())
    answer = questions.answer

    def too_late(**said):
        questions.close(question=thread, by=sara, at=at("2026-11-19 09:30"))
        return answer(**said)

    monkeypatch.setattr(questions, "answer", too_late)
    response = client.post(reverse("staff_answer", args=[thread.pk]), {"text": "So."}, follow=True)
    assert "closed meanwhile" in words(response)
    assert Post.objects.count() == 1


def test_what_is_sent_twice_is_said_once(client):
    line, sara = a_line()
    client.force_login(sara)
    ask(client, line), ask(client, line)
    client.force_login(a_staff_user())
    for text in ("So.", "So.", "And so.", "So."):
        client.post(reverse("staff_answer", args=[Question.objects.get().pk]), {"text": text})
    said = [post.text for post in Post.objects.order_by("at", "pk")]
    assert said == ["Why is this 24 dollars?", "So.", "And so.", "So."]


def test_what_is_asked_again_a_day_later_is_told_again():
    line, sara = a_line()
    a_staff_user()
    for day in (19, 20):
        questions.ask(line=line, text="Any news?", by=sara, at=at(f"2026-11-{day} 09:00"))
    assert (Post.objects.count(), Message.objects.filter(post__isnull=False).count()) == (2, 2)


def test_an_end_of_a_line_counts_as_one_letter_as_it_does_in_a_browser(client):
    line, sara = a_line()
    client.force_login(sara)
    ask(client, line, ("x" * 79 + "\r\n") * 50)
    assert Post.objects.get().text == "\n".join(["x" * 79] * 50)


@pytest.mark.parametrize("text", ["", "   ", "x" * 4001])
def test_nothing_and_far_too_much_is_refused_with_words(client, text):
    line, sara = a_line()
    client.force_login(sara)
    assert ask(client, line, text).status_code == 200
    assert not Post.objects.exists()


def test_a_line_of_another_client_cannot_be_questioned(client):
    line, _sara = a_line()
    _other, eve = a_line(name="Eve", email="eve@client.test")
    client.force_login(eve)
    assert ask(client, line).status_code == 404
    thread = questions.ask(line=line, text="Why?", by=_sara, at=at("2026-11-19 09:00"))
    assert client.post(reverse("portal_question_close", args=[thread.pk])).status_code == 404
    assert Post.objects.count() == 1


def test_who_only_reads_sees_questions_and_asks_none(client):
    line, ole = a_line(role=Role.READER)
    client.force_login(ole)
    assert "Question this line" not in see(client, "portal_invoice", line.invoice_id)
    assert ask(client, line).status_code == 403
    assert not Post.objects.exists()


def test_staff_without_the_permission_answer_nothing(client):
    line, sara = a_line()
    thread = questions.ask(line=line, text="Why?", by=sara, at=at("2026-11-19 09:00"))
    kim = a_user("kim@staff.test", is_staff=True)
    client.force_login(kim)
    assert client.get(reverse("staff_questions")).status_code == 403
    allow(kim, "view_question", "view_invoice")
    assert "Answer" not in see(client, "staff_questions").replace("Answered", "")
    assert client.post(reverse("staff_answer", args=[thread.pk]), {"text": "So."}).status_code == 403


def test_what_is_written_shows_as_it_was_written(client):
    line, sara = a_line()
    client.force_login(sara)
    page = ask(client, line, "<script>alert(1)</script>").content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_list_takes_as_many_queries_for_many_as_for_one(client):
    line, sara = a_line()
    questions.ask(line=line, text="Why?", by=sara, at=at("2026-11-19 09:00"))
    client.force_login(a_staff_user())

    def queries():
        with CaptureQueriesContext(
            connection,
        ) as found:
            client.get(reverse("staff_questions"))
        return len(found)

    queries()
    before = queries()
    for n in range(5):
        other, someone = a_line(name=f"Client {n}", email=f"{n}@client.test")
        questions.ask(line=other, text="Why?", by=someone, at=at("2026-11-19 09:00"))
    assert queries() == before


@pytest.mark.django_db(transaction=True)
def test_two_who_ask_at_once_write_in_one_thread():
    line, sara = a_line()

    def once(text):
        try:
            questions.ask(line=line, text=text, by=sara, at=at("2026-11-19 09:00"))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(once, ["a", "b", "c", "d"]))
    assert Question.objects.count() == 1
    assert Post.objects.count() == 4
