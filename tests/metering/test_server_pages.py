"""The staff pages of servers and collections: what they show, what they store, and what they never show."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from metering import health
from metering.forms import MAX_ROWS
from metering.health import old
from metering.models import Collection, Server
from metering.providers.base import Field, ProviderError, TenantUsage
from metering.views import DRAFTS
from tests.builders import (
    GB,
    Panel,
    a_server,
    a_staff_user,
    a_user,
    at,
    collected,
    panel,
    says,
    tenant_says,
)

pytestmark = pytest.mark.django_db

SECRET = "correct-horse-battery"
ROW = {
    "system_name": "traffic",
    "display_name": "Traffic",
    "type": "month",
    "unit": "GB",
    "preset": "",
    "expression": "sum by (tenant) (increase(bytes[$range]))",
    "label": "tenant",
    "scale": "1",
}


@pytest.fixture
def staff(client):
    """A client in which a member of staff with all rights is logged in; `panel` is an installed provider."""
    client.force_login(a_staff_user())
    with panel():
        yield client


def page(client, view: str, *args: Any, **query: Any) -> str:
    response = client.get(reverse(view, args=args), query)
    assert response.status_code == 200
    return text_of(response)


def pressed(client, view: str, *args: Any, **data: Any) -> str:
    """Press a button and return the page that it leads to."""
    response = client.post(reverse(view, args=args), data, follow=True)
    assert response.status_code == 200
    return text_of(response)


def text_of(response) -> str:
    """The page in one line, so that the way its template is wrapped does not matter."""
    return " ".join(response.content.decode().split())


def a_panel_form(**values: str) -> dict[str, str]:
    typed = {"name": "panel-01", "time_zone": "Europe/Berlin", "is_active": "on"}
    return {**typed, "settings-host": "panel.test", "settings-token": SECRET, **values}


def a_prometheus_form(*rows: dict[str, str], **values: str) -> dict[str, str]:
    typed = {"name": "prom-01", "time_zone": "UTC", "is_active": "on", "settings-url": "https://prom.test"}
    for number, row in enumerate(rows):
        typed.update({f"rows-metrics-{number}-{column}": text for column, text in row.items()})
    return {**typed, "settings-auth": "bearer", "rows-metrics-count": str(len(rows)), **values}


def a_prometheus(name: str, *rows: dict[str, str], **values: Any) -> Server:
    return a_server(name, provider="prometheus", settings={"url": "https://prom.test", "metrics": list(rows)}, **values)


def a_record(server: Server, when: str = "2026-11-19 06:00", status: str = "complete", **values: Any) -> Collection:
    ended = None if status in ("running", "waiting") else at(when)
    return Collection.objects.create(
        **{"server": server, "as_of": at(when), "started_at": at(when), "ended_at": ended, "status": status, **values}
    )


def links() -> list[tuple[str, str, list[Any]]]:
    server = a_server()
    record = a_record(server)
    return [
        ("get", "staff_servers", []),
        ("get", "staff_server_new", ["panel"]),
        ("get", "staff_server", [server.pk]),
        ("get", "staff_server_edit", [server.pk]),
        ("post", "staff_server_test", [server.pk]),
        ("post", "staff_server_collect", [server.pk]),
        ("get", "staff_collections", []),
        ("get", "staff_collection", [record.pk]),
        ("post", "staff_collection_decide", [record.pk]),
    ]


# ---- who may see them


def test_every_page_answers_staff_with_all_rights(staff):
    assert {getattr(staff, how)(reverse(name, args=args)).status_code for how, name, args in links()} <= {200, 302}


def test_nobody_is_sent_to_the_login(client):
    for how, name, args in links():
        address = reverse(name, args=args)
        response = getattr(client, how)(address)
        assert response.status_code == 302
        assert response.url == f"{reverse('account_login')}?next={address}"


@pytest.mark.parametrize("is_staff", [False, True])
def test_a_client_and_staff_without_rights_are_refused(client, is_staff):
    client.force_login(a_user(is_staff=is_staff))
    with panel():
        assert {getattr(client, how)(reverse(name, args=args)).status_code for how, name, args in links()} == {403}
    assert Panel.asked == []


def test_staff_who_may_only_look_see_no_buttons(client):
    user = a_user(is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=["view_server", "view_collection"]))
    client.force_login(user)
    with panel():
        server = a_server()
        shown = page(client, "staff_servers") + page(client, "staff_server", server.pk)
        assert client.post(reverse("staff_server_collect", args=[server.pk])).status_code == 403
        assert client.get(reverse("staff_server_edit", args=[server.pk])).status_code == 403
    assert "Add a server" not in shown
    assert "Collect now" not in shown


@pytest.mark.parametrize("name", ["staff_server_test", "staff_server_collect", "staff_collection_decide"])
def test_deeds_are_not_done_by_a_link(staff, name):
    assert staff.get(reverse(name, args=[a_server().pk])).status_code == 405
    assert Panel.asked == []


# ---- the list


def test_without_a_server_the_list_says_what_one_is_and_offers_every_provider(staff):
    shown = page(staff, "staff_servers")
    assert "No server yet" in shown
    for name in ("panel", "postgresql", "prometheus", "filesystem"):
        assert reverse("staff_server_new", args=[name]) in shown


@pytest.mark.parametrize(
    ("status", "word", "step"),
    [
        ("complete", "Complete", "None"),
        ("partial", "Partial", "See 2 refused values"),
        ("failed", "Failed", "Mend it, then test the connection"),
        ("held", "Held", "Decide"),
        ("running", "Died", "Try again"),
        ("waiting", "Not begun", "Try again"),
    ],
)
def test_the_list_says_the_state_of_the_last_collection_and_the_next_step(staff, status, word, step):
    server = a_server(collected_at=timezone.now())
    a_record(server, status=status, rejected=2)
    a_record(server, status="complete", tenant_key="alice")
    shown = page(staff, "staff_servers")
    assert f"</svg>{word}</span>" in shown.replace("</svg> ", "</svg>").replace(" </span>", "</span>")
    assert step in shown


def test_never_collected_zero_tenants_and_inactive_are_different_words(staff):
    a_server("never")
    a_record(a_server("zero", collected_at=timezone.now()), tenants=0)
    a_server("off", is_active=False)
    shown = page(staff, "staff_servers")
    assert "1 of 3 needs a person." in shown
    assert [word for word in ("Never collected", "Inactive", "Healthy", "none yet") if word not in shown] == []
    assert 'data-label="Tenants"> 0 </td>' in shown


def test_values_past_the_limit_are_marked_as_old(staff, settings):
    settings.STALE_AFTER_HOURS = 36
    server = a_server(collected_at=timezone.now() - timedelta(hours=39, minutes=5))
    a_record(server)
    assert "39 hours old" in page(staff, "staff_servers")
    assert "Out of date" in page(staff, "staff_server", server.pk)


@pytest.mark.parametrize(
    ("age", "words"),
    [
        ({"seconds": 59}, "less than a minute old"),
        ({"minutes": 1}, "1 minute old"),
        ({"minutes": 89}, "89 minutes old"),
        ({"hours": 2, "minutes": 59}, "2 hours old"),
        ({"hours": 39}, "39 hours old"),
        ({"days": 5, "hours": 3}, "5 days old"),
    ],
)
def test_an_age_is_said_in_one_unit(age, words):
    assert old(timedelta(**age)) == words


# ---- adding and changing a server


def test_a_new_server_is_saved_with_its_credentials_encrypted_and_is_not_asked(staff):
    shown = pressed(staff, "staff_server_new", "panel", **a_panel_form())
    server = Server.objects.get()
    assert (server.name, server.provider, server.time_zone) == ("panel-01", "panel", "Europe/Berlin")
    assert (server.settings, dict(server.credentials)) == ({"host": "panel.test"}, {"token": SECRET})
    with connection.cursor() as cursor:
        cursor.execute("SELECT credentials, settings::text FROM metering_server")
        assert SECRET not in "".join(cursor.fetchone())
    assert "panel-01 is saved." in shown
    assert "Test the connection" in shown
    assert Panel.asked == []


def test_a_stored_credential_is_on_no_page(staff):
    server = a_server(credentials={"token": SECRET})
    a_record(server)
    pages = [("staff_servers", []), ("staff_server", [server.pk]), ("staff_server_edit", [server.pk])]
    pages += [("admin:metering_server_changelist", []), ("admin:metering_server_change", [server.pk])]
    for name, args in pages:
        shown = page(staff, name, *args)
        assert SECRET not in shown
        assert Server.objects.get().credentials["token"] == SECRET
    assert "Stored, and never shown. Leave blank to keep it." in page(staff, "staff_server_edit", server.pk)


def test_a_blank_credential_keeps_the_stored_one_and_a_new_one_replaces_it(staff):
    server = a_server(credentials={"token": SECRET})
    pressed(staff, "staff_server_edit", server.pk, **a_panel_form(name="renamed", **{"settings-token": ""}))
    server = Server.objects.get()
    assert (server.name, dict(server.credentials)) == ("renamed", {"token": SECRET})
    pressed(staff, "staff_server_edit", server.pk, **a_panel_form(**{"settings-token": "another"}))
    assert dict(Server.objects.get().credentials) == {"token": "another"}


def test_a_stored_credential_that_is_not_required_can_be_removed(staff):
    server = a_prometheus("prom-01", ROW, credentials={"password": SECRET})
    assert "Remove the stored password or bearer token" in page(staff, "staff_server_edit", server.pk)
    pressed(staff, "staff_server_edit", server.pk, **a_prometheus_form(ROW, **{"settings-remove-password": "on"}))
    assert dict(Server.objects.get().credentials) == {}


def test_saving_leaves_alone_what_the_provider_does_not_ask_for_and_what_collections_write(staff):
    server = a_server(settings={"host": "old.test", "extra": 1}, collected_at=at("2026-11-19 06:00"))
    pressed(staff, "staff_server_edit", server.pk, **a_panel_form())
    server = Server.objects.get()
    assert server.settings == {"host": "panel.test", "extra": 1}
    assert server.collected_at == at("2026-11-19 06:00")


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("name", "", "This field is required."),
        ("name", "taken", "Another server has this name."),
        ("time_zone", "Mars/Olympus", "Mars/Olympus is not a time zone"),
        ("settings-host", "", "This field is required."),
        ("settings-host", "a\x00b", "Null characters are not allowed."),
        ("settings-token", "", "This field is required."),
    ],
)
def test_bad_input_is_said_at_its_field_and_saves_nothing(staff, field, text, said):
    a_server("taken")
    shown = pressed(staff, "staff_server_new", "panel", **a_panel_form(**{field: text}))
    assert "Not saved: 1 thing needs a change" in shown
    assert f'href="#id_{field}"' in shown
    assert said in shown.split(f'id="id_{field}_error"')[1].split("</div>")[0]
    assert Server.objects.count() == 1
    assert SECRET not in shown


def test_hints_of_a_provider_are_text(staff):
    with patch.object(Panel, "fields", (Field("host", "Host", help="Such as <host>:2083"),)):
        assert "Such as &lt;host&gt;:2083" in page(staff, "staff_server_new", "panel")


def test_a_port_that_is_no_number_is_said_at_its_field(staff):
    typed = {"name": "pg", "time_zone": "UTC", "settings-host": "pg.test", "settings-user": "meter"}
    shown = pressed(staff, "staff_server_new", "postgresql", **typed, **{"settings-port": "54x"})
    assert "Enter a whole number." in shown.split('id="id_settings-port_error"')[1].split("</div>")[0]
    assert not Server.objects.exists()


def the_draft(shown: str) -> str:
    return shown.split('name="draft" value="')[1].split('"')[0]


def test_a_credential_that_was_typed_into_a_refused_form_is_kept_without_being_shown(staff):
    shown = pressed(staff, "staff_server_new", "panel", **a_panel_form(name=""))
    assert SECRET not in shown
    assert "Entered a moment ago and kept until you save." in shown
    assert SECRET not in str(staff.session[DRAFTS])
    pressed(staff, "staff_server_new", "panel", **a_panel_form(**{"settings-token": "", "draft": the_draft(shown)}))
    assert dict(Server.objects.get().credentials) == {"token": SECRET}
    assert staff.session[DRAFTS] == {}


def test_a_typed_credential_that_is_no_longer_kept_must_be_typed_again(staff):
    server = a_server(credentials={"token": "the old one"})
    shown = pressed(
        staff, "staff_server_edit", server.pk, **a_panel_form(name="new", **{"settings-token": "", "draft": "gone"})
    )
    assert "no longer kept. Enter them again." in shown
    assert Server.objects.get().name == "panel-01"


def test_credentials_whose_key_is_gone_do_not_stop_the_pages_and_are_not_overwritten_unasked(staff, settings):
    server = a_prometheus("prom-01", ROW, credentials={"password": SECRET})
    keys, settings.FIELD_KEYS = settings.FIELD_KEYS, [Fernet.generate_key().decode()]
    page(staff, "staff_servers")
    page(staff, "staff_server", server.pk)
    assert "cannot be read with the keys" in page(staff, "staff_server_edit", server.pk)
    assert "cannot be read with the keys" in pressed(staff, "staff_server_test", server.pk)
    pressed(staff, "staff_server_edit", server.pk, **a_prometheus_form(ROW, name="renamed"))
    settings.FIELD_KEYS = keys
    server = Server.objects.get()
    assert (server.name, dict(server.credentials)) == ("renamed", {"password": SECRET})


def test_a_server_whose_provider_is_not_installed_is_shown_and_cannot_be_edited(staff):
    server = a_server("odd", provider="acme", settings={})
    assert "The provider acme is not installed" in page(staff, "staff_server", server.pk)
    assert "Install its provider" in page(staff, "staff_servers")
    refused = staff.get(reverse("staff_server_edit", args=[server.pk]), follow=True)
    assert "No provider called" in text_of(refused)
    assert staff.get(reverse("staff_server_new", args=["acme"])).status_code == 404


# ---- rows


def test_rows_are_saved_and_one_that_was_left_as_it_came_is_none(staff):
    untouched = {"type": "snapshot", "unit": "whole", "label": "tenant", "scale": "1"}
    pressed(staff, "staff_server_new", "prometheus", **a_prometheus_form(ROW, untouched))
    assert Server.objects.get().settings["metrics"] == [ROW]


def test_a_row_is_added_without_script_and_nothing_typed_is_lost_or_complained_about(staff):
    half = {**ROW, "system_name": "Half Way", "expression": ""}
    typed = {"settings-password": SECRET, "settings-ca": "one\ntwo"}
    form = a_prometheus_form(half, name="", add="metrics", **typed)
    del form["is_active"]
    shown = pressed(staff, "staff_server_new", "prometheus", **form)
    assert 'name="rows-metrics-count" value="2"' in shown
    assert 'value="Half Way"' in shown
    assert "one two</textarea>" in shown
    assert "checked" not in shown
    assert "autofocus" in shown.split('name="rows-metrics-1-system_name"')[1].split(">")[0]
    assert "Not saved" not in shown
    assert "invalid-feedback" not in shown
    assert SECRET not in shown
    assert not Server.objects.exists()
    pressed(staff, "staff_server_new", "prometheus", **a_prometheus_form(ROW, draft=the_draft(shown)))
    assert dict(Server.objects.get().credentials) == {"password": SECRET}


def test_a_row_is_removed_without_script_and_the_others_move_up(staff):
    rows = [{**ROW, "system_name": name} for name in ("one", "two", "three")]
    shown = pressed(staff, "staff_server_new", "prometheus", **a_prometheus_form(*rows, remove="metrics-1"))
    assert 'name="rows-metrics-count" value="2"' in shown
    names = [shown.split(f'name="rows-metrics-{number}-system_name" value="')[1].split('"')[0] for number in (0, 1)]
    assert names == ["one", "three"]


@pytest.mark.parametrize("button", ["metrics-7", "metrics-x", "other-0", "", "-"])
def test_a_button_for_a_row_that_is_not_there_changes_nothing(staff, button):
    shown = pressed(staff, "staff_server_new", "prometheus", **a_prometheus_form(ROW, remove=button))
    assert 'name="rows-metrics-count" value="1"' in shown
    assert 'value="traffic"' in shown


def test_the_last_row_that_is_removed_leaves_an_empty_one(staff):
    shown = pressed(staff, "staff_server_new", "prometheus", **a_prometheus_form(ROW, remove="metrics-0"))
    assert 'name="rows-metrics-count" value="1"' in shown
    assert 'value="traffic"' not in shown


@pytest.mark.parametrize("count", ["0", "", "-1", "x", "1"])
def test_a_list_that_must_not_be_empty_says_so(staff, count):
    untouched = {"type": "snapshot", "unit": "whole", "label": "tenant", "scale": "1"}
    form = a_prometheus_form(untouched, **{"rows-metrics-count": count})
    shown = pressed(staff, "staff_server_new", "prometheus", **form)
    assert "Fill in at least one row." in shown
    assert not Server.objects.exists()


def test_nobody_makes_the_page_build_more_rows_than_it_allows(staff):
    form = a_prometheus_form(ROW, **{"rows-metrics-count": "9" * 30})
    shown = pressed(staff, "staff_server_new", "prometheus", **form)
    assert f'name="rows-metrics-count" value="{MAX_ROWS}"' in shown
    assert 'name="add"' not in shown


@pytest.mark.parametrize(
    ("changes", "column", "said"),
    [
        ({"system_name": ""}, "system_name", "This field is required."),
        ({"type": "hourly"}, "type", "Select a valid choice."),
        ({"system_name": "x" * 101}, "system_name", "at most 100 characters"),
        ({"display_name": "x" * 201}, "display_name", "at most 200 characters"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_in_it(staff, changes, column, said):
    shown = pressed(staff, "staff_server_new", "prometheus", **a_prometheus_form({**ROW, **changes}))
    assert said in shown.split(f'id="id_rows-metrics-0-{column}_error"')[1].split("</div>")[0]
    assert "Metrics, row 1" in shown
    assert not Server.objects.exists()


@pytest.mark.parametrize(
    "changes", [{"system_name": "Not A Name"}, {"scale": "many"}, {"label": "a-b"}, {"expression": ""}]
)
def test_a_row_that_the_provider_cannot_use_is_refused_as_a_whole(staff, changes):
    shown = pressed(
        staff, "staff_server_new", "prometheus", **a_prometheus_form(ROW, {**ROW, "system_name": "other", **changes})
    )
    assert 'href="#row-rows-metrics-1"' in shown
    assert "Prometheus cannot use this row." in shown.split('id="row-rows-metrics-1"')[1]
    assert not Server.objects.exists()


def test_the_same_metric_twice_is_refused_at_the_second_row(staff):
    shown = pressed(staff, "staff_server_new", "prometheus", **a_prometheus_form(ROW, ROW))
    assert "Another row has this system name." in shown.split('id="id_rows-metrics-1-system_name_error"')[1]
    assert not Server.objects.exists()


@pytest.mark.parametrize(
    ("changes", "column", "said"),
    [
        ({"type": "day"}, "type", "prom-00 has this metric with the type month."),
        ({"unit": "GiB"}, "unit", "prom-00 has this metric with the unit GB."),
    ],
)
def test_a_metric_that_another_server_declares_otherwise_is_refused_at_its_row(staff, changes, column, said):
    a_prometheus("prom-00", ROW)
    rows = ({**ROW, "system_name": "other"}, {**ROW, **changes})
    shown = pressed(staff, "staff_server_new", "prometheus", **a_prometheus_form(*rows))
    assert said in shown.split(f'id="id_rows-metrics-1-{column}_error"')[1].split("</div>")[0]
    assert Server.objects.count() == 1


def test_a_metric_may_change_while_no_other_server_has_it(staff):
    server = a_prometheus("prom-01", ROW)
    pressed(staff, "staff_server_edit", server.pk, **a_prometheus_form({**ROW, "unit": "GiB"}))
    assert Server.objects.get().settings["metrics"][0]["unit"] == "GiB"


# ---- one server


def test_a_server_says_when_each_of_its_metrics_last_came(staff):
    server = a_server()
    long_ago = timezone.now() - timedelta(days=3)
    collected(server, f"{long_ago:%Y-%m-%d %H:%M}", tenant_says("alice", disk=GB, mailboxes=3))
    collected(server, f"{timezone.now():%Y-%m-%d %H:%M}", tenant_says("alice", disk=GB))
    collected(server, f"{timezone.now():%Y-%m-%d %H:%M}", tenant_says("alice", emails=1), tenant="alice")
    with panel():
        fresh = {one.metric.system_name: one for one in health.freshness(server, timezone.now())}
        shown = page(staff, "staff_server", server.pk)
    assert {name: (one.came_at is not None, one.is_stale) for name, one in fresh.items()} == {
        "disk": (True, False),
        "mailboxes": (True, True),
        "emails": (False, False),
        "traffic": (False, False),
        "rows": (False, False),
    }
    assert "GB, 1,000³ bytes" in shown
    assert "3 days old" in shown
    assert shown.count("Never</span>") == 3


def test_a_server_says_what_a_tenant_is_and_what_resets_when(staff):
    server = a_server()
    with patch.object(Panel, "resets", "Bandwidth begins anew on the 1st <UTC>."):
        shown = page(staff, "staff_server", server.pk)
    assert "which is a user name" in shown
    assert "Bandwidth begins anew on the 1st &lt;UTC&gt;." in shown


def test_collecting_now_stores_values_and_says_how_many(staff):
    server = a_server()
    with panel(says(tenant_says("alice", disk=GB, mailboxes=0))):
        shown = pressed(staff, "staff_server_collect", server.pk)
    record = Collection.objects.get(period_start=None)
    assert (record.status, record.asked_by.email) == ("complete", "ines@staff.test")
    assert f"Collection no. {record.pk}" in shown
    assert "1 new" in shown
    assert "asked for by ines@staff.test" in shown


def test_a_collection_that_failed_says_why_in_its_words_and_can_be_tried_again(staff):
    def fails(*_: Any) -> Iterator[TenantUsage]:
        raise ProviderError("panel.test does not answer <b>at all</b>.")

    server = a_server()
    with panel(fails):
        shown = pressed(staff, "staff_server_collect", server.pk)
    assert "Failed: nothing of it was stored" in shown
    assert "panel.test does not answer &lt;b&gt;at all" in shown
    assert "<b>at all" not in shown
    assert "Try again</button>" in shown
    shown = page(staff, "staff_server", server.pk)
    assert "Failing: its last collection failed. It has no values yet." in shown
    assert "Try again</button>" in shown


def test_refused_values_are_counted_and_listed(staff):
    with panel(says(tenant_says("alice", disk=-1, emails=3))):
        shown = pressed(staff, "staff_server_collect", a_server().pk)
    assert "Partial: some values were refused" in shown
    assert "-1 is negative" in shown


def test_a_server_says_how_it_does_in_a_sentence(staff):
    server = a_server()
    assert "Never collected: nothing is known of it yet." in page(staff, "staff_server", server.pk)
    for number in range(3):
        collected(server, f"{timezone.now():%Y-%m-%d} 00:0{number}", tenant_says("alice", disk=GB))
    shown = page(staff, "staff_server", server.pk)
    assert "Healthy. Its values are" in shown
    assert "and 3 of its last 3 collections were stored." in shown
    for _ in range(2):
        a_record(server, status="failed", error="No answer.")
    assert "Failing: its last 2 collections failed. Its values are" in page(staff, "staff_server", server.pk)


def test_the_trend_of_the_last_stored_collections_is_a_line_and_a_table(staff):
    server = a_server()
    for number in range(70):
        a_record(server, tenants=number, values_seen=2 * number)
    a_record(server, status="failed", error="No answer.")
    a_record(server, period_start=at("2026-11-01 00:00"), period_end=at("2026-11-02 00:00"), tenants=9999)
    tenants, values, seconds = health.trend([one for one in health.recent(server) if one.is_stored])
    assert tenants.sentence == "Tenants: 69 in the last collection, between 11 and 69 before."
    assert (values.last, seconds.last) == ("138", "0.0 s")
    points = [tuple(map(float, point.split(","))) for point in tenants.points.split()]
    assert (len(points), points[0][0], points[-1]) == (59, 0, (1000, 0))
    shown = page(staff, "staff_server", server.pk)
    assert shown.count("<polyline") == 3
    assert "The same as a table" in shown
    assert "style=" not in shown
    assert "9,999" not in shown.split("Last collections")[0]


def test_one_collection_is_no_trend(staff):
    server = a_server()
    a_record(server)
    assert "<polyline" not in page(staff, "staff_server", server.pk)


def test_errors_of_the_last_days_are_listed_once_each(staff):
    server, now = a_server(), timezone.now()
    for hours, error in [(24 * 8, "Long gone."), (9, "No answer."), (5, "Wrong token."), (1, "No answer.")]:
        when = now - timedelta(hours=hours)
        a_record(server, status="failed", error=error, as_of=when, started_at=when)
    a_record(a_server("other"), status="failed", error="Elsewhere.", started_at=now)
    found = [(one["error"], one["times"]) for one in health.errors(server, now)]
    assert found == [("No answer.", 2), ("Wrong token.", 1)]
    assert "Long gone." not in page(staff, "staff_server", server.pk).split("Last collections")[0]


def test_the_last_collection_says_what_it_cost(staff):
    server = a_server(collected_at=timezone.now())
    a_record(server, calls=3, bytes=1_234_567)
    assert "complete: 3 calls, 1.2 MB, 0.0 s" in page(staff, "staff_server", server.pk)


@contextmanager
def running(server: Server) -> Iterator[None]:
    """Hold the lock of a collection in another connection, as another process would."""
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(7301, %s)", [server.pk])
    yield
    other.close()


def test_collecting_a_server_that_is_being_collected_says_so(staff):
    server = a_server()
    with running(server):
        shown = pressed(staff, "staff_server_collect", server.pk)
    assert "Another collection of panel-01 was running, so this one was not begun." in shown


def test_a_collection_that_is_running_is_followed_and_not_asked_for_again(staff):
    server, now = a_server(), timezone.now()
    record = a_record(server, status="running", started_at=now, as_of=now, seen_so_far=12_000)
    with running(server):
        shown = pressed(staff, "staff_server_collect", server.pk)
    assert "12,000" in shown
    assert 'data-live="1"' in shown
    assert Collection.objects.get() == record


def test_an_inactive_server_is_not_collected(staff):
    server = a_server(is_active=False)
    assert "is not active, so it is not collected" in pressed(staff, "staff_server_collect", server.pk)
    assert Panel.asked == []


def test_a_working_connection_is_said_with_what_the_server_is(staff):
    server = a_server()
    assert "The connection works: Panel 1.0." in pressed(staff, "staff_server_test", server.pk)
    assert not Collection.objects.exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ProviderError("Wrong token. Make a new one."), "The connection does not work. Wrong token. Make a new one."),
        (KeyError(SECRET), "The provider stopped with KeyError. The log has the details."),
    ],
)
def test_a_connection_that_does_not_work_is_said_with_the_reason(staff, error, said):
    server = a_server()
    with patch.object(Panel, "check", side_effect=error):
        shown = pressed(staff, "staff_server_test", server.pk)
    assert said in shown
    assert SECRET not in shown


# ---- collections


def test_names_from_outside_are_text_and_nothing_else(staff):
    evil = "<img src=x onerror=alert(1)>"
    server = a_server(evil)
    problems = [{"tenant": evil, "metric": evil, "reason": evil}]
    statuses = ["held", "failed", "partial", "failed", "partial", "held"]
    records = [
        a_record(server, status=status, tenant_key=tenant, rejected=1, problems=problems, error=evil)
        for status, tenant in zip(statuses, ["", evil, evil, "", "", ""], strict=True)
    ]
    pages = [("staff_servers", []), ("staff_server", [server.pk]), ("staff_server_edit", [server.pk])]
    pages += [("staff_collections", []), *(("staff_collection", [record.pk]) for record in records)]
    for name, args in pages:
        shown = page(staff, name, *args)
        assert "<img" not in shown
        assert "&lt;img src=x onerror=alert(1)&gt;" in shown


def test_a_collection_says_what_it_asked_for(staff):
    server = a_server()
    whole = a_record(server)
    one = a_record(server, tenant_key="alice")
    month = a_record(server, period_start=at("2026-10-01 00:00"), period_end=at("2026-11-01 00:00"))
    day = a_record(server, period_start=at("2026-11-01 00:00"), period_end=at("2026-11-02 00:00"))
    for record, words in [(whole, "all tenants"), (month, "October 2026 again"), (day, "1 Nov 2026 again")]:
        assert words in page(staff, "staff_collection", record.pk)
    assert 'tenant <span class="tp-mono">alice</span>' in page(staff, "staff_collection", one.pk)


def test_more_problems_than_are_listed_are_said(staff):
    problems = [{"tenant": "", "metric": "", "reason": "a tenant without a name"}]
    shown = page(staff, "staff_collection", a_record(a_server(), status="partial", rejected=1200, problems=problems).pk)
    assert "The first 1 of 1,200" in shown
    assert "without a name" in shown


def test_collections_are_paged_newest_first(staff):
    server, other = a_server(), a_server("other")
    records = [a_record(server, tenants=number) for number in range(60)]
    a_record(other)
    first = page(staff, "staff_collections")
    assert first.index("other") < first.index(f"no. {records[-1].pk},")
    assert f"no. {records[11].pk}," in first
    assert f"no. {records[10].pk}," not in first
    second = page(staff, "staff_collections", before=records[11].pk)
    assert f"no. {records[10].pk}," in second
    assert f"no. {records[11].pk}," not in second
    assert "Older" not in second
    assert f"no. {records[9].pk}," not in page(staff, "staff_collections", server=server.pk)
    assert "There are no older ones." in page(staff, "staff_collections", before=1)
    assert page(staff, "staff_collections", before="x" * 20, server="9" * 18 + "9")


def test_pages_take_the_same_number_of_queries_however_much_there_is(staff):
    server = a_server()
    a_record(server)
    counts = {}
    for round_ in (1, 2):
        for name, args in [("staff_servers", []), ("staff_server", [server.pk]), ("staff_collections", [])]:
            before = counts.get(name)
            with CaptureQueriesContext(connection) as queries:
                page(staff, name, *args)
            counts[name] = len(queries)
            assert before in (None, len(queries))
        if round_ == 1:
            for number in range(5):
                another = a_server(f"another-{number}", collected_at=timezone.now())
                a_record(another, status="failed")
                a_record(another, metrics=[1, 2])
                a_record(server, tenants=number, status="partial")
    assert max(counts.values()) <= 12


# ---- Django's admin


@pytest.mark.parametrize("model", ["server", "tenant", "collection", "metric"])
def test_records_are_listed_and_searched_in_the_admin(staff, model):
    server = a_server(credentials={"token": SECRET})
    collected(server, "2026-11-19 06:00", tenant_says("alice", disk=GB))
    shown = page(staff, f"admin:metering_{model}_changelist", q="a")
    assert SECRET not in shown


def test_the_admin_neither_adds_servers_nor_changes_what_collections_wrote(staff):
    server = a_server()
    record = a_record(server)
    assert staff.get(reverse("admin:metering_server_add")).status_code == 403
    assert staff.post(reverse("admin:metering_collection_change", args=[record.pk]), {}).status_code == 403
    assert "credentials" not in page(staff, "admin:metering_server_change", server.pk).lower()
