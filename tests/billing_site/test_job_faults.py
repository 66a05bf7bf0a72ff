"""What goes wrong with schedules, queues, clocks and workers, and what the jobs do about it.

The numbers are those of the catalogue of faults, group J.
"""

import os
import pickle
import signal
import threading
import time
from datetime import date, datetime, timedelta
from io import StringIO
from itertools import pairwise
from multiprocessing import Event, get_context
from unittest.mock import patch

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings
from django.urls import reverse
from django.utils import timezone
from django_q import core_signing
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule
from django_q.pusher import pusher
from django_q.scheduler import scheduler
from django_q.signing import PickleSerializer, SignedPackage
from django_q.tasks import async_task

from billing_site import checks, clock, health, jobs, stopping
from billing_site.broker import Broker
from billing_site.management.commands.qcluster import Telling
from billing_site.models import Job, Tick
from catalog.models import Client, Service
from invoicing import billing
from invoicing.models import Claim, Deferral, Invoice, Line, Run
from invoicing.verification import verify
from metering.models import Collection, Reading
from metering.providers.base import ProviderError
from tests.builders import (
    MAILBOXES,
    Panel,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    at,
    collected,
    panel,
    priced,
    says,
    tenant_says,
)

pytestmark = pytest.mark.django_db

MORNING = at("2026-11-01 07:00")


@pytest.fixture(autouse=True)
def _not_asked_to_stop():
    yield
    stopping._flag[0] = 0


@pytest.fixture
def broker(monkeypatch):
    # The scheduler would close the connection that the test's transaction is on.
    monkeypatch.setattr("django_q.scheduler.close_old_django_connections", lambda: None)
    return Broker(list_key=Conf.CLUSTER_NAME)


def a_metered_service(server, tenant="alice", **values):
    product = a_product()
    if not product.metric_settings.exists():
        priced(a_setting(product, MAILBOXES), ("0", "1"))
    return a_service(product, tenant=a_tenant(server, tenant), **values)


def a_plain_service(**values):
    return a_service(a_product("VPS", provider=""), **values)


def terms():
    """The first days of the terms that were billed, in the order of their invoices."""
    lines = Line.objects.filter(kind="recurring").order_by("invoice__number")
    return [str(day) for day in lines.values_list("start", flat=True)]


def problem_names(when):
    return [problem.name for problem in health.problems(at=when)]


# J2: overlapping runs


@pytest.mark.django_db(transaction=True)
def test_j2_a_tick_leaves_a_job_alone_that_another_process_is_at(monkeypatch):
    for number in range(4):
        a_plain_service(name=f"vps {number}", client=Client.objects.create(name=f"client {number}", currency="USD"))
    monkeypatch.setattr("invoicing.billing.BATCH", 1)
    is_billing, may_go_on = threading.Event(), threading.Event()
    whole = billing._bill

    def slow(*arguments, **values):
        is_billing.set()
        may_go_on.wait(30)
        return whole(*arguments, **values)

    def run():
        try:
            jobs.run_due(at=MORNING)
        finally:
            connection.close()

    monkeypatch.setattr(billing, "_bill", slow)
    first = threading.Thread(target=run)
    first.start()
    try:
        assert is_billing.wait(30)
        assert jobs.run_due(at=MORNING + timedelta(minutes=5))["CreateInvoices"] == "is running already"
        # And a person who presses the button meanwhile bills what the first one has not locked.
        monkeypatch.setattr(billing, "_bill", whole)
        assert billing.create_invoices(on=date(2026, 11, 1), at=MORNING).run.services == 4
    finally:
        may_go_on.set()
        first.join()
    assert Claim.objects.count() == Invoice.objects.count() == 4
    assert [str(finding) for finding in verify()] == []


# J3: a job longer than `retry`


@pytest.mark.parametrize("cluster", [{"timeout": None, "retry": 60}, {"retry": 60}, {"timeout": 61, "retry": 60}])
def test_j3_a_queue_that_would_start_a_running_job_again_is_an_error(cluster):
    assert checks.queue() == []
    with override_settings(Q_CLUSTER=cluster):
        assert [message.id for message in checks.queue()] == ["tallyport.E003"]


# J5: a task that raises


def test_j5_a_job_that_always_fails_is_tried_three_times_a_day_and_told_and_the_others_go_on():
    calls = []

    def fail(when):
        calls.append(when)
        raise RuntimeError("disk full")

    broken = {"TenantUsageMetrics": jobs.Task(fail, timedelta(hours=24))}
    with patch.dict(jobs.TASKS, broken):
        for minutes in range(0, 3 * 24 * 60, 30):
            when = at("2026-11-01 06:00") + timedelta(minutes=minutes)
            said = jobs.run_due(at=when)
            assert not said.get("CreateInvoices", "").startswith("failed")
    # Billing collects first, due or not, which is one attempt more at most on the first day.
    assert 9 <= len(calls) <= 12
    assert "job" in problem_names(when)
    assert Job.objects.get(name="CreateInvoices").succeeded_at


# J7: `catch_up`


@pytest.mark.parametrize("catch_up", [True, False])
def test_j7_ticks_that_are_caught_up_change_nothing(catch_up, broker, monkeypatch):
    monkeypatch.setattr(Conf, "CATCH_UP", catch_up)
    a_plain_service(anchor="2026-01-01", next_term=1)
    jobs.ensure_schedule()
    Schedule.objects.update(next_run=timezone.now() - timedelta(hours=3))
    for _ in range(5):
        scheduler(broker)
        for pk, payload in broker.dequeue() or ():
            assert SignedPackage.loads(payload)["func"] == "billing_site.jobs.tick"
            jobs.tick()
            broker.acknowledge(pk)
    assert terms() == sorted(set(terms()))
    assert Job.objects.get(name="CreateInvoices").next_due > timezone.now() + timedelta(hours=23)
    ticks_left = (Schedule.objects.get().next_run < timezone.now()) == catch_up
    assert ticks_left


# J8: a queue that is behind


@pytest.mark.parametrize("late", [timedelta(hours=2), timedelta(days=33)])
def test_j8_a_tick_that_waited_bills_the_terms_that_were_due_not_the_time_it_ran(late):
    a_plain_service(anchor="2026-10-01", next_term=1)
    jobs.run_due(at=MORNING + late)
    jobs.run_due(at=MORNING + late + timedelta(hours=1))
    due = ["2026-11-01", "2026-12-01"]
    assert terms() == due[: 1 + (late > timedelta(days=30))]
    assert [str(day) for day in Claim.objects.order_by("term_start").values_list("term_start", flat=True)] == terms()


# J9: daylight saving


@pytest.mark.parametrize("changed", ["2026-03-29", "2026-10-25"])
@override_settings(TIME_ZONE="Europe/Berlin")
def test_j9_when_the_clocks_change_there_is_one_run_a_day_and_one_bill(changed):
    day = date.fromisoformat(changed)
    a_plain_service(anchor=f"{day.replace(month=day.month - 1, day=20)}", next_term=1)
    Service.objects.update(anchor=day, next_term=0, next_due_on=day)
    ran = {"TenantUsageMetrics": [], "CreateInvoices": [], "SendMessages": []}

    def noted(name, task):
        def run(when):
            ran[name].append(when)
            return jobs._create_invoices(when) if name == "CreateInvoices" else ""

        return jobs.Task(run, task.every)

    begin = at(changed) - timedelta(hours=22, minutes=30)  # half past two in the night before, by local time
    with patch.dict(jobs.TASKS, {name: noted(name, task) for name, task in jobs.TASKS.items()}):
        for minutes in range(0, 60 * 60, 15):
            jobs.run_due(at=begin + timedelta(minutes=minutes))
    assert [when - begin for when in ran["CreateInvoices"]] == [timedelta(days=days) for days in range(3)]
    local_days = [timezone.localdate(when) for when in ran["CreateInvoices"]]
    assert len(set(local_days)) == 3
    polls = ran["TenantUsageMetrics"]
    assert max(b - a for a, b in pairwise(polls)) <= timedelta(hours=12, minutes=15)  # a tick more
    assert terms() == [changed]


# J10: the clock


def test_j10_a_clock_that_goes_back_an_hour_bills_nothing_again_and_delays_nothing_for_long():
    a_plain_service(anchor="2026-10-01", next_term=1)
    jobs.run_due(at=MORNING)
    for minutes in range(-60, 65, 5):
        said = jobs.run_due(at=MORNING + timedelta(minutes=minutes))
        assert "CreateInvoices" not in said
    assert terms() == ["2026-11-01"]
    assert "SendMessages" in said
    assert Tick.objects.get().at == MORNING + timedelta(minutes=60)


@pytest.mark.parametrize("jump", [timedelta(hours=37), timedelta(days=365)])
def test_j10_after_a_jump_ahead_nothing_is_billed_until_somebody_confirms_and_collecting_goes_on(jump):
    service = a_metered_service(a_server())
    jobs.run_due(at=at("2026-10-31 07:00"))
    with panel(says(tenant_says("alice", mailboxes=3))):
        for minutes in range(0, 60, 20):
            when = at("2026-10-31 07:00") + jump + timedelta(minutes=minutes)
            said = jobs.run_due(at=when)
            assert said["CreateInvoices"].startswith("refused: The clock said ")
        assert Collection.objects.filter(server=service.tenant.server).exists()
        assert Run.objects.count() == 1
        assert "clock" in problem_names(when)
        clock.confirm(at=when, by="ines")
        jobs.run_due(at=when)
    assert Run.objects.count() == 2
    # A year of terms is more than is billed without being asked.
    assert Invoice.objects.exists() == (jump < timedelta(days=300))
    assert "clock" not in problem_names(when)


def test_j10_a_clock_that_is_set_right_again_goes_on_by_itself_with_all_that_was_moved_to_the_future():
    a_plain_service(anchor="2026-10-01", next_term=1)
    jobs.run_due(at=at("2026-10-30 07:00"))
    jobs.run_due(at=at("2027-10-30 07:00"))
    assert Job.objects.get(name="TenantUsageMetrics").next_due > at("2027-10-30 00:00")
    jobs.run_due(at=at("2026-10-30 07:10"))
    assert set(jobs.run_due(at=at("2026-10-30 19:10"))) >= {"TenantUsageMetrics", "SendMessages"}
    jobs.run_due(at=MORNING)
    assert terms() == ["2026-11-01"]
    assert Tick.objects.get().doubted_at is None


def test_j10_by_a_clock_that_went_back_for_days_nothing_is_collected_either():
    a_metered_service(a_server())
    jobs.run_due(at=MORNING)
    with panel(says(tenant_says("alice", mailboxes=3))):
        said = jobs.run_named(jobs.TASKS, at=at("1970-01-03 00:00"))
    assert said["TenantUsageMetrics"].startswith("refused: ")
    assert said["CreateInvoices"].startswith("refused: ")
    assert "before the last tick" in said["CreateInvoices"]
    assert not said["SendMessages"].startswith("refused")
    assert not Reading.objects.exists()


def test_j10_the_first_tick_ever_has_nothing_to_be_compared_with():
    a_plain_service(anchor="2026-10-01", next_term=1)
    assert "1 invoices" in jobs.run_due(at=MORNING)["CreateInvoices"]


def test_j10_cron_says_it_exits_with_1_and_confirms(time_machine):
    a_plain_service(anchor="2026-10-01", next_term=1)
    jobs.run_due(at=at("2026-10-20 07:00"))
    time_machine.move_to(MORNING)
    out = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("cron", stdout=out)
    assert caught.value.returncode == 1
    assert "12 days after the last tick" in out.getvalue()
    assert "cron --confirm-clock" in out.getvalue()
    out = StringIO()
    call_command("cron", "--confirm-clock", stdout=out)
    assert "CreateInvoices: 1 invoices" in out.getvalue()


def test_j10_staff_see_it_today_and_confirm_it_with_the_right_to_bill(client, time_machine):
    a_service(status="pending")
    jobs.run_due(at=at("2026-10-20 07:00"))
    time_machine.move_to(MORNING)
    jobs.tick()
    client.force_login(a_staff_user())
    page = client.get(reverse("staff_home")).content.decode()
    assert "The clock jumped, and nothing is billed" in page
    assert "1 thing needs a person today" in page
    assert client.get(reverse("confirm_clock")).status_code == 405
    page = client.post(reverse("confirm_clock"), follow=True).content.decode()
    assert "The clock is confirmed." in page
    assert "Nothing needs a person today" in page
    client.logout()
    assert client.post(reverse("confirm_clock")).status_code == 302


# J11 and J12: collecting is late, or fails for days


@pytest.mark.django_db(transaction=True)
def test_j11_usage_whose_collection_is_still_running_waits_and_the_rest_is_billed():
    server = a_server()
    a_metered_service(server)
    collected(server, "2026-10-20 06:00", tenant_says("alice", mailboxes=5))
    params = connection.get_connection_params()
    with psycopg.connect(host=params["host"], user=params["user"], dbname=params["dbname"]) as other:
        other.execute("SELECT pg_advisory_lock(7301, %s)", [server.pk])
        with panel(says(tenant_says("alice", mailboxes=7))):
            said = jobs.run_due(at=MORNING)
            assert Panel.asked == []
    assert said["TenantUsageMetrics"] == "0 servers collected"
    assert terms() == ["2026-11-01"]
    assert Deferral.objects.get().reason == "not measured since 2026-10-20"
    assert not Line.objects.filter(kind="usage").exists()


def test_j12_a_server_that_fails_for_days_keeps_nobody_else_from_the_bill_and_its_usage_is_seen_waiting():
    dead, alive = a_server("a-dead", settings={"host": "dead"}), a_server("b-alive")
    late, fine = a_metered_service(dead, "alice"), a_metered_service(alive, "bob")
    collected(dead, "2026-10-20 06:00", tenant_says("alice", mailboxes=5))

    def answer(asked, period):
        if asked.settings["host"] == "dead":
            raise ProviderError("No answer.")
        return iter([] if period else [tenant_says("bob", mailboxes=3)])

    with panel(answer):
        for hours in range(0, 12 * 24 + 1, 24):
            when = at("2026-10-20 07:00") + timedelta(hours=hours)
            jobs.run_due(at=when)
    assert when.date() == date(2026, 11, 1)
    assert [str(line.service) for line in Line.objects.filter(kind="usage")] == [str(fine)]
    assert {str(line.service) for line in Line.objects.filter(kind="recurring")} == {str(late), str(fine)}
    assert Deferral.objects.get().service == late


# J13: SIGTERM


def many_services(count=30):
    for number in range(count):
        a_plain_service(name=f"vps {number}", client=Client.objects.create(name=f"client {number}", currency="USD"))


def slowly(monkeypatch):
    """Bill one service a batch, and not so fast."""
    whole = billing._bill

    def slow(*arguments, **values):
        time.sleep(0.1)
        return whole(*arguments, **values)

    monkeypatch.setattr("invoicing.billing.BATCH", 1)
    monkeypatch.setattr(billing, "_bill", slow)


def forked(work):
    """Do something in a process of its own, with connections of its own. Returns its id."""
    child = os.fork()
    if child:
        return child
    connection.connection, kept = None, connection.connection  # neither used nor closed here
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code if kept is not None else 2)


def wait_for(is_so, seconds=60):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def finish_the_rest():
    stopping._flag[0] = 0
    said = jobs.run_due(at=timezone.now())
    assert "CreateInvoices" in said
    assert Claim.objects.count() == Invoice.objects.count() == 30
    assert [str(finding) for finding in verify()] == []


@pytest.fixture
def _november(time_machine):
    """The clock goes on from there, in this process and in those forked from it."""
    time_machine.move_to(MORNING)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_november")
def test_j13_sigterm_lets_a_run_finish_its_batch_and_the_next_one_goes_on(monkeypatch):
    many_services()
    slowly(monkeypatch)
    child = forked(jobs.tick)
    wait_for(Invoice.objects.exists)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    assert (os.WIFSIGNALED(status), os.waitstatus_to_exitcode(status)) == (False, 0)
    assert 0 < Invoice.objects.count() < 30
    assert [str(finding) for finding in verify()] == []
    job = Job.objects.get(name="CreateInvoices")
    assert (job.started_at, job.attempts, job.succeeded_at) == (None, 0, None)
    finish_the_rest()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_november")
def test_j13_a_worker_that_is_to_stop_tells_the_processes_that_it_forked(monkeypatch):
    many_services()
    slowly(monkeypatch)
    child = forked(jobs.tick)
    wait_for(Invoice.objects.exists)
    with patch("django_q.cluster.Cluster.sig_handler") as go_on:
        Telling.__new__(Telling).sig_handler(signal.SIGTERM, None)
    assert go_on.called
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert 0 < Invoice.objects.count() < 30
    finish_the_rest()


# J14: what cannot be read


def put(payload):
    return OrmQ.objects.create(key=Conf.CLUSTER_NAME, payload=payload, lock=timezone.now() - timedelta(seconds=1)).pk


def signed(call, key=None):
    return core_signing.dumps(call, key=key or Conf.SECRET_KEY, salt=Conf.PREFIX, serializer=PickleSerializer)


def a_call(func="billing_site.jobs.tick"):
    return {"id": "1", "name": "n", "func": func, "args": (), "kwargs": {}, "started": timezone.now()}


class OfAnOldVersion:
    pass


def gone():
    """A payload that names a class which this version does not have."""
    payload = pickle.dumps({**a_call(), "args": (OfAnOldVersion(),)}, protocol=4)
    payload = payload.replace(b"OfAnOldVersion", b"OfNoVersionNow")

    class Raw:
        @staticmethod
        def dumps(obj):
            return payload

    return core_signing.dumps(None, key=Conf.SECRET_KEY, salt=Conf.PREFIX, serializer=Raw)


def test_j14_what_cannot_be_read_is_reported_and_thrown_away_and_the_tick_behind_it_is_done(broker, caplog):
    for payload in ("", "nonsense", signed(a_call(), key="the key of last year"), gone()):
        put(payload)
    tick = put(signed(a_call()))
    told_to_stop = Event()
    told_to_stop.set()
    queue = get_context("fork").Queue()
    pusher(queue, told_to_stop, broker)
    assert queue.get(timeout=10)["ack_id"] == tick
    assert [row.pk for row in OrmQ.objects.all()] == [tick]
    assert sum("cannot be read" in record.message for record in caplog.records) == 4


def test_j14_nothing_but_the_sites_own_jobs_is_called(broker, caplog):
    put(signed(a_call("os.system")))
    assert broker.dequeue() == []
    assert not OrmQ.objects.exists()
    assert "calls os.system, which is none of the site's jobs" in caplog.text


def test_j14_the_schedule_makes_anew_what_was_thrown_away(broker):
    jobs.ensure_schedule()
    put(signed(a_call(), key="the key of last year"))
    assert broker.dequeue() == []
    Schedule.objects.update(next_run=timezone.now() - timedelta(seconds=1))
    scheduler(broker)
    assert len(broker.dequeue()) == 1


# J15: the schedule


@pytest.mark.parametrize(
    "damage",
    [
        {"func": "os.system", "args": "('id',)", "kwargs": "x=1", "hook": "os.remove"},
        {"repeats": 0},
        {"next_run": datetime(2099, 1, 1, tzinfo=timezone.get_default_timezone())},
        {"schedule_type": Schedule.YEARLY, "minutes": None},
        {"cluster": "elsewhere"},
        {"name": "another name"},
        None,
    ],
)
def test_j15_a_schedule_that_was_deleted_disabled_or_edited_ticks_again(damage, broker):
    jobs.ensure_schedule()
    if damage is None:
        Schedule.objects.all().delete()
    else:
        Schedule.objects.update(**damage)
    jobs.ensure_schedule()
    tick = Schedule.objects.get(name="tick")
    assert tick.next_run <= timezone.now() + timedelta(minutes=5)
    Schedule.objects.update(next_run=timezone.now() - timedelta(seconds=1))
    scheduler(broker)
    calls = [SignedPackage.loads(payload) for _, payload in broker.dequeue()]
    assert [(call["func"], call["args"], call["kwargs"]) for call in calls] == [("billing_site.jobs.tick", (), {})]


def test_j15_a_schedule_that_is_there_twice_is_there_once():
    jobs.ensure_schedule()
    Schedule.objects.create(name="tick", func="billing_site.jobs.tick")
    jobs.ensure_schedule()
    assert Schedule.objects.count() == 1


def test_j15_no_tick_in_25_hours_is_said_today(client, time_machine):
    a_service(status="pending")
    jobs.run_due(at=MORNING)
    client.force_login(a_staff_user())
    time_machine.move_to(MORNING + timedelta(hours=24))
    assert "Nothing needs a person today" in client.get(reverse("staff_home")).content.decode()
    time_machine.move_to(MORNING + timedelta(hours=26))
    page = client.get(reverse("staff_home")).content.decode()
    assert "No job was run in 25 hours" in page
    assert client.get("/readyz").status_code == 503


# J16: too much to do


def test_j16_a_call_that_waits_already_is_not_queued_again(broker):
    for _ in range(200):
        async_task("billing_site.jobs.tick")
    assert OrmQ.objects.count() == 1
    assert len(broker.dequeue()) == 1
    async_task("billing_site.jobs.tick")  # the first one is being done
    assert OrmQ.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_j16_clicks_on_refresh_ask_a_server_once_at_a_time(client):
    server = a_server()
    service = a_metered_service(server)
    client.force_login(a_staff_user())
    params = connection.get_connection_params()
    with psycopg.connect(host=params["host"], user=params["user"], dbname=params["dbname"]) as other:
        other.execute("SELECT pg_advisory_lock(7301, %s)", [server.pk])
        with panel(says(tenant_says("alice", mailboxes=7))):
            for _ in range(20):
                client.post(reverse("staff_service_refresh", args=[service.public_id]))
            assert Panel.asked == []
    assert not Collection.objects.exists()
    assert not OrmQ.objects.exists()
