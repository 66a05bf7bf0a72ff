"""Reminders: before the day, in steps after it, never twice, and not in somebody's quiet hours."""

import threading
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from billing_site import jobs
from billing_site.models import Job
from catalog.models import User
from invoicing import outbox, payments, quiet, reminding
from invoicing.models import Message
from tests.builders import a_client, at
from tests.invoicing.documents import an_invoice
from tests.invoicing.mail_server import mail_server

NOON, TODAY = at("2026-11-19 12:00"), date(2026, 11, 19)


def queued(kind):
    return list(Message.objects.filter(kind=kind).order_by("created_at", "step").values_list("invoice", "step"))


def remind(day, when=NOON):
    on = date.fromisoformat(day)
    return reminding.queue_due(on=on, at=when), reminding.queue_overdue(on=on, at=when)


def pay(invoice, amount):
    return payments.record(invoice=invoice, amount=Decimal(amount), received_on=TODAY, by=None, at=NOON)


@pytest.mark.django_db
class TestDue:
    def test_three_days_before_it_is_due_once(self):
        invoice = an_invoice("24", due_on="2026-11-22")
        assert remind("2026-11-18") == (0, 0)
        assert remind("2026-11-19") == (1, 0)
        assert remind("2026-11-19") == (0, 0)
        assert remind("2026-11-20") == (0, 0)
        message = Message.objects.get()
        assert (message.kind, message.invoice, message.to, message.step) == ("due", invoice, "sara@client.test", 0)
        assert message.client == invoice.client

    def test_what_is_paid_credited_or_without_an_address_is_not_reminded_of(self):
        pay(an_invoice("24", due_on="2026-11-22"), "24")
        an_invoice("0", due_on="2026-11-22")
        an_invoice("24", due_on="2026-11-22", client=a_client("Nobody"))
        assert remind("2026-11-19") == (0, 0)

    def test_of_a_part_paid_one_the_rest_is_reminded_of(self):
        pay(an_invoice("24", due_on="2026-11-22"), "23")
        assert remind("2026-11-19") == (1, 0)

    def test_an_invoice_that_was_mailed_just_now_is_not(self):
        an_invoice("24", issued_on="2026-11-19", due_on="2026-11-22")
        assert remind("2026-11-19") == (0, 0)
        assert remind("2026-11-20") == (0, 0)

    @override_settings(REMIND_DAYS_BEFORE=0)
    def test_zero_days_is_never(self):
        an_invoice("24", due_on="2026-11-19")
        assert remind("2026-11-19") == (0, 0)

    def test_a_day_on_which_nothing_ran_is_made_up_for(self):
        an_invoice("24", due_on="2026-11-22")
        assert remind("2026-11-21") == (1, 0)


@pytest.mark.django_db
class TestOverdue:
    def test_each_step_has_its_mail(self):
        invoice = an_invoice("24", due_on="2026-11-15")
        assert [remind(f"2026-11-{day}")[1] for day in range(15, 31)] == [0, 1, *[0] * 5, 1, *[0] * 6, 1, 0]
        assert queued("overdue") == [(invoice.pk, 1), (invoice.pk, 2), (invoice.pk, 3)]

    def test_after_a_standstill_only_the_newest_step_is_sent_and_no_older_one_later(self):
        invoice = an_invoice("24", issued_on="2026-09-01", due_on="2026-09-15")
        assert remind("2026-11-19")[1] == 1
        assert queued("overdue") == [(invoice.pk, 3)]
        assert remind("2026-11-20")[1] == 0

    def test_fewer_steps_from_now_on_send_no_older_one(self):
        invoice = an_invoice("24", issued_on="2026-09-01", due_on="2026-09-15")
        remind("2026-11-19")
        with override_settings(OVERDUE_DAYS=[1, 7]):
            assert remind("2026-11-20")[1] == 0
        assert queued("overdue") == [(invoice.pk, 3)]

    def test_what_is_paid_meanwhile_gets_no_next_step(self):
        invoice = an_invoice("24", due_on="2026-11-15")
        remind("2026-11-16")
        pay(invoice, "24")
        assert remind("2026-11-22") == (0, 0)

    @override_settings(OVERDUE_DAYS=[])
    def test_no_steps_is_never(self):
        an_invoice("24", due_on="2026-11-15")
        assert remind("2026-11-19") == (0, 0)

    @override_settings(OVERDUE_DAYS=[10, 2])
    def test_steps_are_in_order_whatever_the_order_of_the_setting(self):
        invoice = an_invoice("24", due_on="2026-11-15")
        assert remind("2026-11-17")[1] == 1
        assert queued("overdue") == [(invoice.pk, 1)]

    def test_a_thousand_are_queued_by_one_statement_each(self, django_assert_num_queries):
        for _ in range(5):
            an_invoice("24", due_on="2026-11-15")
        with django_assert_num_queries(2):
            assert remind("2026-11-19") == (0, 5)


@pytest.mark.django_db(transaction=True)
class TestSent:
    @pytest.fixture(autouse=True)
    def _clean(self, transactional_db):
        """Real transactions."""

    def test_a_reminder_whose_reason_is_gone_is_dropped_and_queued_again_when_it_is_back(self):
        invoice = an_invoice("24", due_on="2026-11-15")
        remind("2026-11-19")
        payment = pay(invoice, "24")
        with mail_server() as server:
            done = outbox.send_due(at=NOON)
            assert (done.sent, done.failed, done.dropped) == (0, 0, 1)
            assert server.mails == []
            assert not Message.objects.exists()
            payments.take_back(payment=payment, by=None, at=NOON)
            remind("2026-11-19")
            assert outbox.send_due(at=NOON).sent == 1
        assert server.receivers == ["sara@client.test"]
        assert remind("2026-11-19") == (0, 0)

    def test_what_is_held_is_sent_when_its_hours_are_over(self):
        invoice = an_invoice("24")
        until = NOON + timedelta(hours=8)
        Message.objects.create(
            kind="issued", invoice=invoice, client=invoice.client, to="a@client.test", created_at=NOON, hold_until=until
        )
        with mail_server():
            assert outbox.send_due(at=until - timedelta(seconds=1)).sent == 0
            assert outbox.send_due(at=until).sent == 1

    def test_two_at_once_queue_each_once(self):
        invoices = [an_invoice("24", due_on="2026-11-15") for _ in range(30)]
        counts = []

        def work():
            try:
                counts.append(reminding.queue_overdue(on=TODAY, at=NOON))
            finally:
                connection.close()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sum(counts) == len(invoices) == Message.objects.count()

    def test_the_daily_job_queues_and_the_tick_sends(self):
        an_invoice("24", due_on="2026-11-15")
        an_invoice("24", due_on="2026-11-21", client=a_client("Brandt"))
        with mail_server() as server:
            said = jobs.run_named(["Reminders", "SendMessages"], at=NOON)
        assert said["Reminders"] == "0 invoices due, 1 overdue"
        assert said["SendMessages"] == "1 mails sent, 0 failed"
        assert server.receivers == ["sara@client.test"]
        assert Job.objects.get(name="Reminders").next_due > NOON

    def test_by_a_clock_that_jumped_ahead_nobody_is_reminded(self):
        assert "Reminders" in jobs.NOT_AHEAD


@pytest.mark.django_db
def test_what_is_due_is_found_without_looking_at_what_was_sent():
    invoice = an_invoice("24")
    Message.objects.bulk_create(
        Message(kind="alert", to=f"{n}@client.test", created_at=NOON, sent_at=NOON, client=invoice.client)
        for n in range(5000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE invoicing_message")
    plan = outbox.due(NOON).order_by("created_at")[:1].explain()
    assert "messages_to_send" in plan
    assert "Seq Scan" not in plan


# Quiet hours


def sleeper(begin, end, zone="UTC"):
    hours = [time.fromisoformat(each) if each else None for each in (begin, end)]
    return User(quiet_from=hours[0], quiet_until=hours[1], time_zone=zone)


@pytest.mark.parametrize(
    ("begin", "end", "zone", "when", "until"),
    [
        ("22:00", "07:00", "UTC", "2026-11-19 23:30", "2026-11-20 07:00"),
        ("22:00", "07:00", "UTC", "2026-11-20 06:59", "2026-11-20 07:00"),
        ("22:00", "07:00", "UTC", "2026-11-20 07:00", None),
        ("22:00", "07:00", "UTC", "2026-11-19 22:00", "2026-11-20 07:00"),
        ("22:00", "07:00", "UTC", "2026-11-19 21:59", None),
        ("12:00", "14:00", "UTC", "2026-11-19 13:00", "2026-11-19 14:00"),
        ("12:00", "14:00", "UTC", "2026-11-19 14:00", None),
        ("22:00", "07:00", "Europe/Berlin", "2026-11-19 21:30", "2026-11-20 06:00"),
        ("22:00", "07:00", "America/New_York", "2026-11-19 21:30", None),
        ("", "", "UTC", "2026-11-19 23:30", None),
        ("22:00", "", "UTC", "2026-11-19 23:30", None),
        ("22:00", "22:00", "UTC", "2026-11-19 23:30", None),
        # clocks go forward at 02:00 on 29 March: 02:30 is not on them
        ("22:00", "02:30", "Europe/Berlin", "2026-03-29 00:59", "2026-03-29 01:30"),
        # and back at 03:00 on 25 October: 02:30 is twice
        ("22:00", "02:30", "Europe/Berlin", "2026-10-25 00:15", "2026-10-25 00:30"),
        ("22:00", "02:30", "Europe/Berlin", "2026-10-25 01:15", "2026-10-25 01:30"),
    ],
)
def test_quiet_hours_end_by_the_clock_on_the_wall(begin, end, zone, when, until):
    assert quiet.until(sleeper(begin, end, zone), at(when)) == (at(until) if until else None)


@given(
    st.times(),
    st.times(),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", ""]),
)
def test_quiet_hours_end_within_a_day_and_are_over_then(begin, end, when, zone):
    user = User(quiet_from=begin, quiet_until=end, time_zone=zone)
    until = quiet.until(user, when)
    if until is not None:
        assert when < until <= when + timedelta(hours=25)
        assert quiet.until(user, until) is None or zone not in ("UTC", "")
