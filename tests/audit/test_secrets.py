"""No secret gets into the audit log, not even encrypted or as a digest: only that it changed."""

import json

import pytest
from allauth.mfa.models import Authenticator
from django.db import connection
from django.test import Client as Browser

from audit.models import SECRET, Entry
from audit.tables import LOGGED
from catalog.models import User
from metering import push_keys
from metering.models import Server
from metering.vault import Credentials
from tests.audit.rows import a_row, changed, columns, deleted, triggers
from tests.builders import a_server, a_staff_user, a_user, at

pytestmark = pytest.mark.django_db

CANARY = "canary-7f3a"
SOUNDS = ("password", "secret", "token", "digest", "credential", "hash", "private")
#: Columns that hold what opens something, in whatever form.
SECRETS = {
    "catalog_user": {"password"},
    "metering_server": {"credentials"},
    "metering_pushkey": {"digest"},
    "catalog_apikey": {"digest"},
    "catalog_invitation": {"digest"},
    "mfa_authenticator": {"data"},
}


def everything():
    """All that the log holds, as one text."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(json_agg(to_json(each))::text, '') FROM audit_entry AS each")
        return cursor.fetchone()[0]


@pytest.mark.parametrize(("table", "column"), [(table, name) for table, names in SECRETS.items() for name in names])
def test_a_secret_column_is_only_said_to_have_changed(table, column):
    value = json.dumps({"seed": CANARY}) if dict(columns(table))[column] == "jsonb" else CANARY
    key = a_row(table, **{column: value})
    changed(table, key, **{column: value.replace("7f3a", "7f3a-2")})
    deleted(table, key)
    entries = Entry.objects.filter(table=table, key=str(key)).order_by("id")
    assert [entry.what for entry in entries] == ["insert", "update", "delete"]
    assert all(entry.changes[column] == SECRET for entry in entries)
    assert CANARY not in everything()


@pytest.mark.parametrize("table", LOGGED)
def test_a_column_that_sounds_like_a_secret_is_one(table):
    sounds = {
        name
        for name, _ in columns(table)
        if (name != "file_digest" and any(word in name for word in SOUNDS))
        or (name == "data" and table.startswith("mfa"))
    }
    left_out = set.union(*(words[1] for words in triggers(table).values()))
    told = set.union(*(words[0] for words in triggers(table).values()))
    assert sounds - left_out == told == SECRETS.get(table, set())


def test_passwords_credentials_keys_and_second_factors_stay_out():
    user = a_user(password=CANARY)
    server = a_server(credentials=Credentials(token=CANARY))
    stored = Server.objects.raw("SELECT id, credentials::text AS ciphertext FROM metering_server")[0].ciphertext
    user.set_password(f"{CANARY}-2")
    user.save()
    key, token = push_keys.make(server=server, name="shop", by=user, at=at("2026-11-01 06:00"))
    push_keys.revoke(key=key, by=user, at=at("2026-11-02 06:00"))
    Authenticator.objects.create(user=user, type="totp", data={"secret": CANARY})
    server.credentials = Credentials(token=f"{CANARY}-3")
    server.save()
    log = everything()
    for secret in (CANARY, stored, user.password, User.objects.get().password, token, token[12:], key.digest):
        assert secret not in log
    assert len(log) > 500


def test_a_password_that_is_typed_as_a_mail_address_is_not_written_down():
    Browser().post("/account/login/", {"login": f"{CANARY}@typed.test", "password": CANARY})
    a_staff_user(password="right-enough-7f3b")
    Browser().post("/account/login/", {"login": "ines@staff.test", "password": CANARY})
    log = everything()
    assert "login_failed" in log
    assert CANARY not in log
    assert "right-enough" not in log
