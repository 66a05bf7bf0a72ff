"""The outbox: each mail is sent once, through a real mail server, whatever that does."""

import os
import signal
import threading
import time
import uuid
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import override_settings

from catalog.models import Client
from invoicing import outbox
from invoicing.billing import create_invoices
from invoicing.models import Invoice, InvoicingSpan, Message
from tests.builders import a_product, a_service, at
from tests.invoicing.documents import an_invoice, given_back, issued
from tests.invoicing.mail_server import mail_server

NOON = at("2026-11-01 12:00")


@pytest.fixture(autouse=True)
def _emptied(request, transactional_db):
    """Real transactions: other processes and threads look on."""
    InvoicingSpan.objects.get_or_create(start="2000-01-01")


def billed(*addresses):
    """Bill one service of each of these clients, whose mails then wait in this order."""
    product = a_product("VPS", provider="")
    for number, address in enumerate(addresses):
        client = Client.objects.create(name=f"client {number} & sons", currency="USD", email=address)
        a_service(product, client, name=f"vps {number}")
    create_invoices(on=NOON.date(), at=NOON)
    for number, address in enumerate(addresses):
        Message.objects.filter(to=address).update(created_at=NOON + timedelta(seconds=number))


def send(when=NOON, **options):
    done = outbox.send_due(at=when, **options)
    return done.sent, done.failed


def message(address):
    return Message.objects.get(to=address)


def test_a_mail_says_which_invoice_of_when_how_much_by_when_and_where():
    billed("sara@client.test", "")
    invoice = Invoice.objects.get(client__email="sara@client.test")
    with mail_server() as server:
        assert send() == (1, 0)
    ((to, mail),) = server.mails
    assert (to, mail["To"], mail["From"]) == ("sara@client.test", "sara@client.test", "billing@hoster.test")
    assert mail["Subject"] == f"Invoice {invoice.number} from {invoice.seller['name']}"
    assert mail["Message-ID"] == f"<{message('sara@client.test').pk}@billing.hoster.test>"
    assert mail.get_content_type() == "multipart/alternative"
    plain, html = mail.iter_parts()
    assert (plain.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    text = " ".join(plain.get_content().split())
    assert f"Dear client 0 & sons, invoice {invoice.number} of 1 November 2026 comes to $24.00" in text
    assert "is due on 15 November 2026" in text
    assert f"https://billing.hoster.test/invoices/{invoice.pk}/" in text


def test_a_credit_note_is_called_one_and_names_its_invoice():
    invoice = an_invoice("24")
    line = invoice.lines.get()
    seller = {"name": "Northquay\r\nBcc: all@world.test", "address": ""}
    note = issued(invoice.client, given_back(line, "5"), credits=invoice, seller=seller)
    mail = outbox.compose(Message(id=uuid.uuid4(), kind="issued", invoice=note, to="sara@client.test"), at=NOON)
    assert mail.subject == f"Credit note {note.number} from Northquay Bcc: all@world.test"
    assert f"credit note {note.number} of 1 November 2026 gives back $5.00 of invoice {invoice.number}." in mail.body
    assert "is due" not in mail.body


def test_what_was_sent_is_not_sent_again():
    billed("a@client.test", "b@client.test")
    with mail_server() as server:
        assert send() == (2, 0)
        assert send(NOON + timedelta(days=3)) == (0, 0)
        assert server.connections == 1
    assert server.receivers == ["a@client.test", "b@client.test"]


def test_a_refused_address_keeps_nobody_else_from_mail_and_is_tried_again_ever_later():
    billed("gone@client.test", "b@client.test")
    with mail_server() as server:
        server.answers["gone@client.test"] = "550 no such user here"
        assert send() == (1, 1)
        assert server.receivers == ["b@client.test"]
        waits, when = [], NOON
        while retry_at := message("gone@client.test").retry_at:
            waits.append(retry_at - when)
            when = retry_at
            assert send(when - timedelta(seconds=1)) == (0, 0)
            assert send(when) == (0, 1)
        assert tuple(waits) == outbox.WAITS
        given_up = outbox.given_up().get()
        assert (given_up.attempts, given_up.error) == (6, "The mail server refused it: 550 no such user here.")
        assert send(when + timedelta(days=30)) == (0, 0)
        server.answers.clear()
        assert outbox.send_again(outbox.given_up()) == 1
        assert send(when + timedelta(days=30)) == (1, 0)
    assert not outbox.given_up().exists()
    assert server.receivers == ["b@client.test", "gone@client.test"]


def test_an_address_that_would_write_headers_is_no_address():
    billed("x@client.test", "b@client.test")
    Message.objects.filter(to="x@client.test").update(to="x@client.test\nBcc: all@world.test")
    with mail_server() as server:
        assert send() == (1, 1)
    assert server.receivers == ["b@client.test"]
    assert "cannot be written" in Message.objects.get(sent_at=None).error


def test_a_connection_that_breaks_counts_an_attempt_and_the_others_get_a_new_one():
    billed("a@client.test", "b@client.test")
    with mail_server() as server:
        server.breaks_once = {"taken"}
        assert send() == (1, 1)
        broken = message("a@client.test")
        assert (broken.sent_at, broken.attempts) == (None, 1)
        assert send(broken.retry_at) == (1, 0)
    # It had been taken all the same, so it comes twice, and says so.
    ids = [mail["Message-ID"] for to, mail in server.mails if to == "a@client.test"]
    assert len(ids) == 2
    assert len(set(ids)) == 1


def test_a_server_that_keeps_breaking_off_ends_the_round():
    billed(*(f"{n}@client.test" for n in range(6)))
    with mail_server() as server:
        server.breaks_at = {"DATA"}
        assert send() == (0, outbox.MOST_IN_A_ROW)
        assert server.connections == outbox.MOST_IN_A_ROW
        server.breaks_at = set()
        assert send() == (3, 0)
        assert send(NOON + outbox.WAITS[0]) == (3, 0)


def test_a_dead_server_costs_no_mail_an_attempt_however_long_it_is_dead():
    billed(*(f"{n}@client.test" for n in range(5)))
    with mail_server(EMAIL_PORT=1):
        for hours in range(0, 24 * 7, 12):
            done = outbox.send_due(at=NOON + timedelta(hours=hours))
            assert (done.sent, done.failed) == (0, 3)
            assert done.error == "The mail server did not answer as it should (ConnectionRefusedError)."
    assert set(Message.objects.values_list("attempts", flat=True)) == {0}
    with mail_server() as server:
        assert send(NOON + timedelta(days=8)) == (5, 0)
    assert len(server.mails) == 5


def test_a_refused_login_is_said_without_what_was_said_about_it():
    billed("a@client.test")
    with mail_server(EMAIL_HOST_USER="billing", EMAIL_HOST_PASSWORD="hunter2-secret") as server:
        server.asks_who = True
        server.answers["AUTH"] = "535 no: billing/hunter2-secret"
        assert send() == (0, 1)
    told = message("a@client.test").error
    assert told == "The mail server refused the login (535)."


def test_two_workers_at_once_send_each_mail_once():
    addresses = [f"{n}@client.test" for n in range(24)]
    billed(*addresses)
    sent = []

    def work():
        try:
            sent.append(outbox.send_due(at=NOON).sent)
        finally:
            connection.close()

    with mail_server() as server:
        server.takes = 0.02
        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert sorted(server.receivers) == sorted(addresses)
    assert sum(sent) == len(addresses)
    assert all(sent), "one worker did it all, so this proved nothing"


def test_a_mail_that_another_worker_has_in_hand_holds_up_nobody():
    billed("a@client.test", "b@client.test")
    is_held, may_go = threading.Event(), threading.Event()

    def hold():
        try:
            with transaction.atomic():
                Message.objects.select_for_update().get(to="a@client.test")
                is_held.set()
                may_go.wait(20)
        finally:
            connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert is_held.wait(20)
        with mail_server() as server, connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '3s'")
            assert send() == (1, 0)
            cursor.execute("RESET lock_timeout")
    finally:
        may_go.set()
        holder.join()
    assert server.receivers == ["b@client.test"]


def test_a_worker_killed_after_sending_sends_that_one_again_under_the_same_id():
    billed("a@client.test", "b@client.test")
    with mail_server() as server:
        child = os.fork()
        if child == 0:
            # The parent's connection must be neither used nor closed here.
            connection.connection, kept = None, connection.connection
            whole = outbox._offer

            def sends_and_dies(*arguments):
                whole(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)

            outbox._offer = sends_and_dies
            try:
                outbox.send_due(at=NOON)
            finally:
                os._exit(0 if kept is not None else 1)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        assert server.receivers == ["a@client.test"]
        assert message("a@client.test").sent_at is None
        deadline = time.monotonic() + 20
        while outbox.waiting().exists() and time.monotonic() < deadline:
            outbox.send_due(at=NOON)  # what the dead one held is free once the database has noticed
    assert server.receivers.count("a@client.test") == 2
    assert server.receivers.count("b@client.test") == 1
    ids = {mail["Message-ID"] for to, mail in server.mails if to == "a@client.test"}
    assert len(ids) == 1


def test_a_round_that_is_asked_to_stop_ends_after_the_mail_at_hand():
    billed("a@client.test", "b@client.test")
    with mail_server() as server:
        assert send(should_stop=lambda: bool(server.mails)) == (1, 0)
        assert send() == (1, 0)


def test_the_command_says_what_it_did_and_exits_with_1_without_a_server():
    billed("a@client.test", "b@client.test", "c@client.test")
    out = StringIO()
    with mail_server():
        call_command("send_messages", "--limit", "2", stdout=out)
    assert out.getvalue() == "2 sent, 0 failed; 1 waiting, 0 given up.\n"
    billed("d@client.test", "e@client.test")
    with mail_server(EMAIL_PORT=1), pytest.raises(CommandError, match="did not answer") as caught:
        call_command("send_messages", stdout=out)
    assert caught.value.returncode == 1


@override_settings(EMAIL_BACKEND="django.core.mail.backends.console.EmailBackend")
def test_without_a_mail_server_mails_go_to_the_console(capsys):
    billed("a@client.test")
    assert send() == (1, 0)
    assert "Invoice 2026-00001" in capsys.readouterr().out
