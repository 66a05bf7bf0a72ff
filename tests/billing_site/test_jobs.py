"""Jobs: what is due, in which order, and what becomes of failures."""

from datetime import date, timedelta
from io import StringIO
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command
from django_q.models import Schedule

from billing_site import jobs
from billing_site.models import Job
from invoicing.models import Invoice
from metering.models import Collection
from metering.providers.base import ProviderError
from tests.builders import (
    MAILBOXES,
    Panel,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_tenant,
    at,
    panel,
    priced,
    says,
    tenant_says,
)

pytestmark = pytest.mark.django_db


def cron(*arguments):
    out = StringIO()
    call_command("cron", *arguments, stdout=out)
    return [line.split(":")[0] for line in out.getvalue().splitlines()]


def test_do_runs_only_the_named_job():
    """Statement 17, first half."""
    assert cron("do", "--TenantUsageMetrics") == ["TenantUsageMetrics"]


def test_skip_runs_all_that_are_due_but_the_named():
    """Statement 17, second half."""
    assert cron("skip", "--TenantUsageMetrics") == list(jobs.TASKS)[1:]


def test_usage_is_collected_before_it_is_billed():
    """Statement 16: the daily run collects first, also when the collection alone would not be due."""
    assert cron() == list(jobs.TASKS)
    assert list(jobs.TASKS)[:4] == ["TenantUsageMetrics", "UsageUpdate", "OverageBilling", "CreateInvoices"]
    Job.objects.filter(name="CreateInvoices").update(next_due=at("2026-01-01 00:00"))
    assert cron() == ["TenantUsageMetrics", "CreateInvoices"]
    assert cron("do", "--CreateInvoices", "--TenantUsageMetrics") == ["TenantUsageMetrics", "CreateInvoices"]


def test_nothing_that_is_not_due_runs():
    cron()
    assert cron() == ["Nothing is due."]


@pytest.mark.parametrize("arguments", [("do",), ("skip",), ("--TenantUsageMetrics",), ("walk",), ("do", "--Nonsense")])
def test_a_wrong_call_exits_with_2(arguments):
    with pytest.raises(CommandError) as caught:
        call_command("cron", *arguments)
    assert caught.value.returncode in (1, 2)


def test_a_server_without_a_record_is_never_asked_though_products_use_its_provider():
    """Statement 1."""
    a_product()
    with panel(says(tenant_says("alice", disk=1))):
        cron()
        assert Panel.asked == []


def test_one_dead_server_stops_neither_the_others_nor_the_invoices():
    """Statement 11."""
    dead, alive = a_server("a-dead"), a_server("b-alive")
    product = a_product()
    priced(a_setting(product, MAILBOXES), ("0", "1"))
    today = date(2026, 11, 1)
    a_service(product, tenant=a_tenant(alive, "alice"))

    def answer(connection, period):
        if connection.settings["host"] == "dead":
            raise ProviderError("No answer.")
        yield tenant_says("alice", mailboxes=3)

    dead.settings = {"host": "dead"}
    dead.save()
    with panel(answer):
        jobs.run_due(at=at("2026-11-01 07:00"))
    assert dict(Collection.objects.filter(period_start=None).values_list("server__name", "status")) == {
        "a-dead": "failed",
        "b-alive": "complete",
    }
    assert Invoice.objects.get().issued_on == today


def test_a_server_that_is_not_active_is_not_asked():
    a_server(is_active=False)
    with panel(says()):
        cron("do", "--TenantUsageMetrics")
        assert Panel.asked == []


def test_a_doubled_tick_runs_a_job_once():
    now = at("2026-11-19 06:00")
    assert set(jobs.run_due(at=now)) == set(jobs.TASKS)
    assert jobs.run_due(at=now) == {}


def test_a_job_that_another_process_runs_is_left_alone():
    now = at("2026-11-19 06:00")
    Job.objects.create(name="CreateInvoices", next_due=now, started_at=now - timedelta(minutes=5))
    assert jobs.run_due(at=now)["CreateInvoices"] == "is running already"


def test_a_job_whose_process_was_killed_is_taken_over():
    now = at("2026-11-19 06:00")
    Job.objects.create(name="CreateInvoices", next_due=now, started_at=now - timedelta(hours=2), attempts=1)
    assert "0 invoices" in jobs.run_due(at=now)["CreateInvoices"]


def test_after_days_of_standstill_a_job_runs_once_and_keeps_its_hour():
    Job.objects.create(name="CreateInvoices", next_due=at("2026-11-10 04:00"))
    jobs.run_due(at=at("2026-11-19 06:00"))
    assert Job.objects.get(name="CreateInvoices").next_due == at("2026-11-20 04:00")


def failing(_):
    raise RuntimeError("disk full")


def test_what_fails_is_tried_again_and_after_three_times_at_its_next_hour():
    due = at("2026-11-19 04:00")
    Job.objects.create(name="CreateInvoices", next_due=due)
    times = []
    with patch.dict(jobs.TASKS, {"CreateInvoices": jobs.Task(failing, timedelta(days=1))}):
        for _ in range(3):
            job = Job.objects.get(name="CreateInvoices")
            assert jobs.run_due(at=job.retry_at or job.next_due)["CreateInvoices"] == "failed: RuntimeError"
            job.refresh_from_db()
            times.append(job.retry_at or job.next_due)
    assert times == [at("2026-11-19 04:15"), at("2026-11-19 04:30"), at("2026-11-20 04:00")]
    assert Job.objects.get(name="CreateInvoices").error == "disk full"


def test_cron_exits_with_1_when_a_job_failed():
    with (
        patch.dict(jobs.TASKS, {"CreateInvoices": jobs.Task(failing, timedelta(days=1))}),
        pytest.raises(CommandError) as caught,
    ):
        call_command("cron", "do", "--CreateInvoices", stdout=StringIO())
    assert caught.value.returncode == 1


def test_the_tick_is_made_again_when_somebody_broke_it():
    jobs.ensure_schedule()
    Schedule.objects.update(func="os.system", minutes=1)
    jobs.ensure_schedule()
    assert list(Schedule.objects.values_list("func", "minutes")) == [("billing_site.jobs.tick", 5)]
