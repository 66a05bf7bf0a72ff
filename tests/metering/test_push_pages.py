"""The staff pages of a server that usage is pushed to: keys, what came lately, and importing a file."""

import html
import json
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from metering.models import Collection, HeldValue, PushKey, Tenant, Upload
from metering.providers import base
from metering.pushing import MAX_FILE_BYTES, UPLOAD_KEPT, forget
from tests.builders import GB, a_product, a_server, a_setting, a_staff_user, a_user, at
from tests.metering.pushed import METRICS, NOW, a_key, a_push_server, post, pushed, usage

pytestmark = pytest.mark.django_db

METRIC_NUMBERS = {metric["system_name"]: number for number, metric in enumerate(METRICS)}
CSV = b"tenant,metric,value,id\nalice,disk,5,1\nbob,disk,7,2\nbob,disk,x,3\ncarol,emails,40,4\n"


@pytest.fixture(autouse=True)
def _now(time_machine):
    time_machine.move_to(at(NOW), tick=False)


@pytest.fixture
def staff(client):
    client.force_login(a_staff_user())
    return client


@pytest.fixture
def server():
    return a_push_server()


def text_of(response):
    return " ".join(response.content.decode().split())


def page(client, server):
    return text_of(client.get(reverse("staff_server", args=[server.pk])))


def pressed(client, view, *args, **data):
    return text_of(client.post(reverse(view, args=args), data, follow=True))


def opened(client, view):
    return text_of(client.get(reverse(view)))


def looked_at(client, server, content=CSV, name="october.csv", **values):
    """Upload a file and return the page that says what it would change."""
    return pressed(client, "staff_import_new", server.pk, file=SimpleUploadedFile(name, content), **values)


def test_a_new_server_says_what_is_missing_and_how_one_pushes(staff):
    bare = a_push_server(settings={"metrics": []})
    assert "None. <a" in page(staff, bare)
    assert "Make a key" not in page(staff, bare)
    shown = page(staff, a_push_server("full"))
    for word in ("nobody can push", "Make a key", "Import a file", "curl -sS", "/api/v1/usage", "Nothing was pushed"):
        assert word in shown
    for word in ("Collect now", "Test connection", "Never collected"):
        assert word not in shown


def test_the_metrics_are_declared_in_the_form_of_the_server(staff):
    rows = {f"rows-metrics-0-{name}": text for name, text in METRICS[2].items()}
    data = {"name": "shop", "time_zone": "UTC", "is_active": "on", "rows-metrics-count": "1", **rows}
    shown = pressed(staff, "staff_server_new", "push", **data)
    assert "shop is saved." in shown
    assert '<span class="tp-mono">bandwidth</span>' in shown
    assert '<th scope="row" role="rowheader">Bandwidth</th>' in shown
    again = pressed(
        staff, "staff_server_new", "push", **{**data, "name": "other", "rows-metrics-0-system_name": "Not a name"}
    )
    assert "cannot use this row" in again


def saved(client, server, **changes):
    """Save the form of a server with its metrics changed so, by system name, and return the page that follows."""
    data = {"name": server.name, "time_zone": server.time_zone, "is_active": "on", "rows-metrics-count": len(METRICS)}
    for number, metric in enumerate(METRICS):
        row = {**metric, **changes.get(metric["system_name"], {})}
        data |= {f"rows-metrics-{number}-{column}": text for column, text in row.items()}
    shown = pressed(client, "staff_server_edit", server.pk, **data)
    server.refresh_from_db()
    return shown


@pytest.mark.parametrize(
    ("metric", "column", "other", "said"),
    [
        ("disk", "unit", "whole", "There is usage or a price of this metric with the unit GB."),
        ("disk", "type", "day", "There is usage or a price of this metric with the type snapshot."),
        ("emails", "type", "month", "There is usage or a price of this metric with the type day."),
    ],
)
@pytest.mark.parametrize("use", ["usage", "closed", "held", "price"])
def test_a_metric_in_use_keeps_its_type_and_its_kind_of_unit(staff, server, use, metric, column, other, said):
    setting = a_setting(a_product(provider="push"), base.declared("push", server.settings)[METRIC_NUMBERS[metric]])
    if use != "price":
        setting.delete()
    if use == "usage":
        pushed(server, {"tenant": "alice", "metric": metric, "value": 5})
    if use == "closed":
        pushed(server, {"tenant": "alice", "metric": metric, "value": 5, "period": "2026-10-31"})
    if use == "held":
        HeldValue.objects.create(collection_id=1, tenant="alice", metric_id=setting.metric_id, value=5)
    shown = saved(staff, server, **{metric: {column: other}})
    row = shown.split(f'id="id_rows-metrics-{METRIC_NUMBERS[metric]}-{column}_error"')[1]
    assert said in row.split("</div>")[0]
    assert server.settings["metrics"] == METRICS


def test_a_metric_in_use_may_be_called_otherwise_and_have_another_unit_of_its_kind(staff, server):
    pushed(server, {"tenant": "alice", "metric": "disk", "value": 5})
    assert "shop is saved." in saved(staff, server, disk={"display_name": "Space", "unit": "MB"})
    pushed(server, {"tenant": "bob", "metric": "disk", "value": 5})
    assert (usage(server, "disk"), usage(server, "disk", "bob")) == (
        {"2026-11-20": 5 * GB},
        {"2026-11-20": 5 * GB / 1000},
    )


def test_a_metric_that_nobody_uses_may_change_its_type_and_unit(staff, server):
    pushed(server, {"tenant": "alice", "metric": "emails", "value": 5})
    assert "shop is saved." in saved(staff, server, disk={"type": "day", "unit": "whole"})
    pushed(server, {"tenant": "alice", "metric": "disk", "value": 5})
    assert usage(server, "disk") == {"2026-11-20": 5}


def test_a_metric_in_use_stays_what_it_is_on_a_server_that_is_new(staff, server):
    pushed(server, {"tenant": "alice", "metric": "disk", "value": 5})
    server.settings = {"metrics": []}
    server.save()
    shown = saved(staff, a_push_server("other", settings={"metrics": []}), disk={"unit": "whole"})
    assert "There is usage or a price of this metric with the unit GB." in shown


def test_the_lists_of_servers_say_when_it_last_sent_something(staff, server):
    pushed(server, {"tenant": "alice", "metric": "disk", "value": 2}, when="2026-11-19 09:30")
    record = Collection.objects.get()
    listed = opened(staff, "staff_servers")
    assert f'href="{reverse("staff_collection", args=[record.pk])}">19 Nov, 09:30</a>' in listed
    assert "none yet" not in listed
    assert '<td role="cell" data-label="Values of">19 Nov, 09:30</td>' in opened(staff, "staff_home")


def test_a_key_is_shown_once_and_opens_its_server(staff, server):
    shown = pressed(staff, "staff_push_key_new", server.pk, name="shop-01", metrics=["disk"])
    (token,) = set(re.findall(r"tp_[A-Za-z0-9_-]{43}", shown))
    assert "shown this once" in shown
    key = PushKey.objects.get()
    assert (key.name, key.metrics, str(key.created_by)) == ("shop-01", ["disk"], "ines@staff.test")
    assert token not in page(staff, server)
    assert f"{key.begins_with}…" in page(staff, server)
    assert post(token, {"tenant": "alice", "metric": "disk", "value": 1}).status_code == 200


def test_the_example_beside_a_new_key_is_one_that_it_may_push(staff, server):
    shown = pressed(staff, "staff_push_key_new", server.pk, name="shop-01", metrics=["emails"])
    line = json.loads(re.search(r"-d '(\{.+?\})'", html.unescape(shown)).group(1))
    assert line["metric"] == "emails"
    assert post(re.search(r"tp_[\w-]{43}", shown).group(), line).status_code == 200


@pytest.mark.parametrize(
    ("data", "word"),
    [({"name": ""}, "Say who has it"), ({"name": "shop-01"}, "has this name"), ({"metrics": ["x"]}, "")],
)
def test_a_key_that_cannot_be_made_says_why_and_is_not_made(staff, server, data, word):
    a_key(server)
    assert word in pressed(staff, "staff_push_key_new", server.pk, **{"name": "new", **data})
    assert PushKey.objects.count() == 1


def test_a_revoked_key_opens_nothing_and_its_name_is_free(staff, server):
    token = a_key(server)
    shown = pressed(staff, "staff_push_key_revoke", server.pk, PushKey.objects.get().pk)
    assert "opens nothing any more" in shown
    assert "Revoked: shop-01" in shown
    assert post(token, {"tenant": "alice", "metric": "disk", "value": 1}).status_code == 401
    assert "is made" in pressed(staff, "staff_push_key_new", server.pk, name="shop-01")


def test_what_came_lately_is_listed_with_its_record(staff, server):
    outcome = pushed(
        server, {"tenant": "alice", "metric": "disk", "value": 1}, {"tenant": "alice", "metric": "x", "value": 1}
    )
    assert reverse("staff_collection", args=[outcome.record.pk]) in page(staff, server)
    record = text_of(staff.get(reverse("staff_collection", args=[outcome.record.pk])))
    assert "pushes of an hour" in record
    assert "line 2: there is no metric" in record
    assert f"no. {outcome.record.pk}, pushes of an hour" in text_of(staff.get(reverse("staff_collections")))
    assert "Pushed" in text_of(staff.get(reverse("staff_servers")))


# ---- import


def test_a_file_is_looked_at_before_it_is_imported(staff, server):
    pushed(server, {"tenant": "alice", "metric": "disk", "value": 2}, {"tenant": "bob", "metric": "disk", "value": 7})
    shown = looked_at(staff, server)
    for cell in ("New", "Changed", "The same"):
        assert f'data-label="{cell}">1</td>' in shown
    assert 'data-label="Counts now">9 GB</td>' in shown
    assert 'data-label="Would count">12 GB</td>' in shown
    assert "&#x27;x&#x27; is not a plain decimal number" in shown
    assert "Import 3 lines" in shown
    assert usage(server, "disk") == {"2026-11-20": 2 * GB}
    assert Collection.objects.count() == 1


def test_an_import_stores_the_file_and_leaves_a_record_of_its_own(staff, server):
    looked_at(staff, server)
    shown = pressed(staff, "staff_import", server.pk, Upload.objects.get().pk)
    assert "october.csv is imported: 3 lines stored, 1 refused." in shown
    assert usage(server, "disk") == {"2026-11-20": 5 * GB}
    record = Collection.objects.get()
    assert (record.source, record.file_name, record.tenants, record.new_tenants) == ("import", "october.csv", 3, 3)
    assert str(record.asked_by) == "ines@staff.test"
    assert "import of" in shown
    assert not Upload.objects.exists()


def test_a_file_that_was_imported_before_is_recognised_by_what_is_in_it(staff, server):
    looked_at(staff, server)
    pressed(staff, "staff_import", server.pk, Upload.objects.get().pk)
    shown = looked_at(staff, server, name="november.csv")
    assert "This very file was imported before" in shown
    assert "as october.csv" in shown
    assert "There is nothing in it to import." in shown
    assert "imported before" not in looked_at(staff, server, content=CSV + b"dora,disk,1,5\n")


@pytest.mark.parametrize(
    ("content", "name", "word"),
    [
        (b"alice,disk,5\n", "usage.csv", "must name the columns"),
        (b"{", "usage.json", "It is not JSON"),
        (b"", "usage.csv", "The file is empty"),
        (b"x" * (MAX_FILE_BYTES + 1), "usage.csv", "larger than 20 MiB"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(staff, server, content, name, word):
    assert word in looked_at(staff, server, content, name)
    assert not Collection.objects.exists()


def test_the_format_can_be_chosen(staff, server):
    line = b'{"tenant":"alice","metric":"disk","value":1}'
    assert "Import 1 line" in looked_at(staff, server, line, "usage.csv", format="ndjson")


def test_a_file_is_only_for_who_uploaded_it_and_for_a_day(staff, server, client):
    looked_at(staff, server)
    address = reverse("staff_import", args=[server.pk, Upload.objects.get().pk])
    other = type(client)()
    other.force_login(a_staff_user("otto@staff.test"))
    assert "not here any more" in text_of(other.get(address, follow=True))
    forget(at=at(NOW) + UPLOAD_KEPT + timedelta(seconds=1))
    assert "not here any more" in text_of(staff.post(address, follow=True))
    assert not Tenant.objects.exists()


# ---- who may


def deeds(server):
    key = PushKey.objects.first()
    upload = "00000000-0000-4000-8000-000000000000"
    return [
        ("staff_push_key_new", [server.pk]),
        ("staff_push_key_revoke", [server.pk, key.pk]),
        ("staff_import_new", [server.pk]),
        ("staff_import", [server.pk, upload]),
    ]


@pytest.mark.parametrize("is_staff", [False, True])
def test_without_the_right_to_it_nothing_is_done(client, server, is_staff):
    a_key(server)
    user = a_user(is_staff=is_staff)
    user.user_permissions.add(*Permission.objects.filter(codename__in=["view_server", "view_collection"]))
    client.force_login(user)
    for name, args in deeds(server):
        assert client.post(reverse(name, args=args)).status_code == 403
    assert PushKey.objects.usable().count() == 1
    if is_staff:
        shown = page(client, server)
        assert [word for word in ("Make a key", "Revoke", "Import a file") if word in shown] == []


def test_servers_that_are_asked_have_no_keys_and_no_import(staff):
    server = a_server()
    assert staff.post(reverse("staff_push_key_new", args=[server.pk])).status_code == 404
    assert staff.post(reverse("staff_import_new", args=[server.pk])).status_code == 404


def test_names_from_outside_are_shown_as_text(staff, server):
    nasty = "<img src=x onerror=alert(1)>{{7*7}}"
    line = f'tenant,metric,value,id\n"{nasty}",disk,1,"{nasty}"\n"{nasty}",disk,x,"{nasty}"\n'.encode()
    shown = looked_at(staff, server, line, f"{nasty}.csv", format="csv")
    shown += pressed(staff, "staff_import", server.pk, Upload.objects.get().pk)
    assert "<img src=x" not in shown
    assert "&lt;img src=x" in shown
