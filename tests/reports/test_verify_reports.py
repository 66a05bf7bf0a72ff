"""The command that holds the sums of the reports against the documents."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing_site import jobs
from reports import counting
from reports.models import LineSum
from tests.builders import at
from tests.invoicing.documents import fee, issued
from tests.reports.test_revenue_sums import a_metered_service

pytestmark = pytest.mark.django_db


def verified(*arguments):
    said = StringIO()
    call_command("verify_reports", *arguments, stdout=said)
    return said.getvalue()


def test_sums_that_are_right_are_said_to_be():
    service = a_metered_service()
    issued(service.client, fee(service))
    counting.count_documents(at=at("2026-11-19 08:00"))
    assert verified() == "The sums are what the documents come to.\n"


def test_sums_that_are_wrong_are_named_and_can_be_made_anew():
    service = a_metered_service()
    issued(service.client, fee(service))
    counting.count_documents(at=at("2026-11-19 08:00"))
    LineSum.objects.update(lines=7)
    with pytest.raises(CommandError, match="1 sums differ"):
        verified()
    assert "1 documents counted again." in verified("--again")
    assert verified()


def test_the_job_counts_sums_and_looks():
    service = a_metered_service()
    issued(service.client, fee(service))
    said = jobs.run_named(["Reports"], at=at("2026-11-19 08:00"))
    assert said == {"Reports": "1 documents counted, usage of 2 months summed"}
    assert jobs.run_named(["Reports"], at=at("2026-11-19 09:00")) == {
        "Reports": "0 documents counted, usage of 0 months summed"
    }
