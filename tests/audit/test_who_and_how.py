"""An entry says who did it and which way, and nobody is taken for the one before."""

import os
import subprocess
import sys
from datetime import timedelta
from unittest.mock import patch

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test import Client as Browser
from django.test import RequestFactory
from django.urls import reverse

from audit.actors import AtWork, at_work, is_by, working
from audit.middleware import remember_who_is_at_work
from audit.models import Entry
from billing_site import jobs
from tests.builders import (
    a_client,
    a_service,
    a_staff_user,
    at,
    panel,
)

pytestmark = pytest.mark.django_db


def signed_in(user):
    browser = Browser()
    browser.force_login(user)
    return browser


def newest(table):
    return Entry.objects.filter(table=table).latest("id")


def told():
    """What the database knows about who is at work."""
    names = ("actor", "actor_name", "source", "path")
    with connection.cursor() as cursor:
        return tuple(
            cursor.execute(f"SELECT coalesce(current_setting('tallyport.{name}', true), '')").fetchone()[0]
            for name in names
        )


def test_a_staff_page_says_who_and_from_where():
    service, user = a_service(), a_staff_user()
    address = reverse("staff_service_decide", args=[service.public_id])
    signed_in(user).post(address, {"verdict": "hold", "reason": "asked by phone"})
    entry = newest("invoicing_decision")
    assert (entry.actor_id, entry.actor, entry.source, entry.path) == (user.pk, str(user), "page", address)


def test_djangos_admin_says_so_too():
    client, user = a_client("Before"), a_staff_user()
    address = reverse("admin:catalog_client_change", args=[client.pk])
    inline = {"clientuser_set-TOTAL_FORMS": "0", "clientuser_set-INITIAL_FORMS": "0"}
    page = signed_in(user).get(address)
    fields = {**inline, **{name: value or "" for name, value in page.context["adminform"].form.initial.items()}}
    signed_in(user).post(address, {**fields, "name": "After"})
    entry = newest("catalog_client")
    assert entry.changes == {"name": ["Before", "After"]}
    assert (entry.actor_id, entry.source, entry.path) == (user.pk, "page", address)


def test_the_api_says_so_too():
    service, user = a_service(), a_staff_user()
    with panel():
        signed_in(user).post(f"/api/v1/services/{service.public_id}/terminate", "{}", content_type="application/json")
    entry = newest("catalog_service")
    assert entry.changes["status"] == ["active", "terminated"]
    assert (entry.actor_id, entry.source) == (user.pk, "api")


def test_a_key_may_say_whose_it_is_once_it_is_known():
    def view(request):
        is_by(name="API key accounting")
        a_client("By a key")

    with patch("audit.log.note_refusal"), pytest.raises(AttributeError):
        remember_who_is_at_work(view)(request_by(None, "/api/v1/clients"))
    entry = newest("catalog_client")
    assert (entry.actor_id, entry.actor, entry.source) == (None, "API key accounting", "api")
    assert told() == ("", "", "", "")


def request_by(user, path="/admin/x/", method="POST"):
    from django.contrib.auth.models import AnonymousUser

    request = RequestFactory().generic(method, path)
    request.user = user or AnonymousUser()
    return request


def test_a_job_says_so():
    a_service(anchor="2026-10-01", status="active")
    client = a_client("Made by a job")

    def rename(when):
        client.name = "Renamed by a job"
        client.save()
        return "done"

    with patch.dict(jobs.TASKS, {"UsageUpdate": jobs.Task(rename, timedelta(days=1))}):
        assert jobs.run_named(["UsageUpdate"], at=at("2026-11-01 06:00")) == {"UsageUpdate": "done"}
    entry = newest("catalog_client")
    assert (entry.actor_id, entry.source, entry.path) == (None, "job", "UsageUpdate")


def test_by_hand_in_the_database_has_no_source():
    client = a_client("Typed")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE catalog_client SET name = 'By hand' WHERE id = %s", [client.pk])
    entry = newest("catalog_client")
    assert entry.changes == {"name": ["Typed", "By hand"]}
    assert (entry.actor_id, entry.actor, entry.source, entry.path) == (None, "", "", "")


@pytest.mark.django_db(transaction=True)
def test_a_command_says_which():
    words = "from catalog.models import Client; Client.objects.create(name='By a command', currency='USD')"
    # The command itself, on the database of the tests.
    run = (
        "import runpy, sys; from tests.settings import DATABASES;"
        f"DATABASES['default']['NAME'] = {connection.settings_dict['NAME']!r};"
        f"sys.argv = {['manage.py', 'shell', '-c', words]!r}; runpy.run_path('manage.py', run_name='__main__')"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    subprocess.run([sys.executable, "-c", run], check=True, cwd=settings.BASE_DIR, env=environment, timeout=120)
    entry = newest("catalog_client")
    assert (entry.actor_id, entry.source, entry.path) == (None, "command", "shell")


def test_nobody_leaks_into_the_next_request():
    first, second = a_staff_user("first@staff.test"), a_staff_user("second@staff.test")
    service = a_service()
    address = reverse("staff_service_decide", args=[service.public_id])
    signed_in(first).post(address, {"verdict": "hold"})
    assert told() == ("", "", "", "")
    a_client("Between")
    assert newest("catalog_client").actor_id is None
    signed_in(second).post(address, {"verdict": "release"})
    assert newest("invoicing_decision").actor_id == second.pk
    assert at_work() == AtWork()


def test_nobody_leaks_when_a_page_fails():
    user = a_staff_user()

    def view(request):
        raise RuntimeError("the page broke")

    with pytest.raises(RuntimeError):
        remember_who_is_at_work(view)(request_by(user))
    assert told() == ("", "", "", "")
    assert at_work() == AtWork()


@pytest.mark.django_db(transaction=True)
def test_nobody_leaks_when_a_transaction_is_rolled_back_or_the_connection_breaks():
    user = a_staff_user()

    class Response:
        status_code = 200

    def rolled_back(request):
        with transaction.atomic():
            a_client("Gone")
            transaction.set_rollback(True)
        a_client("Stays")
        return Response

    remember_who_is_at_work(rolled_back)(request_by(user))
    assert newest("catalog_client").actor_id == user.pk
    assert told() == ("", "", "", "")

    def broken(request):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            number = cursor.fetchone()[0]
        other = connection.copy()
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [number])
        other.close()
        return Response

    remember_who_is_at_work(broken)(request_by(user))
    assert told() == ("", "", "", "")


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_is_made_in_the_middle_of_a_request_hears_who_is_at_work():
    user = a_staff_user()

    class Response:
        status_code = 200

    def view(request):
        connection.close()
        a_client("After a new connection")
        return Response

    connection.close()
    remember_who_is_at_work(view)(request_by(user))
    assert newest("catalog_client").actor_id == user.pk
    assert told() == ("", "", "", "")


def test_a_page_that_only_shows_tells_the_database_nothing():
    seen = []

    class Response:
        status_code = 200

    def view(request):
        seen.append((told(), at_work().source))
        return Response

    remember_who_is_at_work(view)(request_by(a_staff_user(), method="GET"))
    assert seen == [(("", "", "", ""), "page")]


def test_a_page_that_shows_and_writes_all_the_same_says_who():
    """As pages of accounts do, that make a second factor's data when they are looked at."""
    user = a_staff_user()

    class Response:
        status_code = 200

    def view(request):
        a_client("By a look")
        return Response

    remember_who_is_at_work(view)(request_by(user, "/account/2fa/", "GET"))
    entry = newest("catalog_client")
    assert (entry.actor_id, entry.source, entry.path) == (user.pk, "page", "/account/2fa/")
    assert told() == ("", "", "", "")


def test_to_say_who_is_at_work_adds_nothing_to_the_queries_of_a_page(django_assert_num_queries):
    with django_assert_num_queries(0), working(user=1, name="Ines", source="page", path="/"):
        pass


def test_a_person_within_a_job_is_named_and_then_the_job_again():
    with working(source="job", path="issue"):
        with working(user=7, name="Ines"):
            a_client("Inside")
        a_client("After")
    inside, after = Entry.objects.filter(table="catalog_client").order_by("id")
    assert (inside.actor_id, inside.source, inside.path) == (7, "job", "issue")
    assert (after.actor_id, after.actor, after.source) == (None, "", "job")
