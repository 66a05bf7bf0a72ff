"""S28, S30: unsafe settings do not start; what is kept on disk is the site's own; nobody has a known password."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.test import Client, override_settings

from billing_site import checks, keys
from billing_site.refusals import refuse

ROOT = Path(__file__).resolve().parents[2]
KEY = "k" * 50


@pytest.mark.parametrize("hosts", [["billing.example.com"], ["*"], ["localhost", "192.0.2.7"], [".example.com"]])
def test_debug_is_refused_where_strangers_come(hosts):
    with pytest.raises(ImproperlyConfigured, match="Take DEBUG out"):
        refuse(debug=True, hosts=hosts, secret_key=KEY)
    refuse(debug=False, hosts=hosts, secret_key=KEY)


def test_debug_is_for_this_machine():
    refuse(debug=True, hosts=["localhost", "127.0.0.1", "[::1]", "billing.localhost"], secret_key=KEY)


@pytest.mark.parametrize("key", ["", "secret", "x" * 31, "django-insecure-" + "x" * 50])
def test_a_key_that_can_be_guessed_is_refused(key):
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY can be guessed"):
        refuse(debug=False, hosts=["localhost"], secret_key=key)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"DEBUG": "1", "ALLOWED_HOSTS": "billing.example.com"}, "Take DEBUG out"),
        ({"SECRET_KEY": "changeme"}, "SECRET_KEY can be guessed"),
    ],
)
def test_no_process_starts_then(values, said, tmp_path):
    environment = {**os.environ, "VAR_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "billing_site.settings", **values}
    started = subprocess.run(
        [sys.executable, "-c", "import billing_site.wsgi"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert started.returncode == 1
    assert said in started.stderr


def test_keys_and_the_directory_they_are_in_are_closed_to_others_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        keys.secret_key(tmp_path / "new" / "var")
    finally:
        os.umask(before)
    directory = tmp_path / "new" / "var"
    assert stat.S_IMODE(directory.stat().st_mode) & 0o066 == 0  # others list nothing in it
    assert stat.S_IMODE((directory / "secret_key").stat().st_mode) == 0o600


def test_a_directory_that_others_can_list_is_said(tmp_path):
    tmp_path.chmod(0o755)
    with override_settings(VAR_DIR=tmp_path):
        (found,) = checks.var_dir()
    assert found.id == "tallyport.W008"
    tmp_path.chmod(0o711)
    with override_settings(VAR_DIR=tmp_path):
        assert checks.var_dir() == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    ["/.git/config", "/.env", "/var/secret_key", "/static/../.env", "/static/%2e%2e/.env", "/static/", "/manage.py"],
)
def test_nothing_of_the_disk_is_served(path):
    assert Client(raise_request_exception=False).get(path).status_code in (400, 404)


@pytest.mark.django_db
def test_a_new_site_has_no_user_and_so_no_default_password():
    assert not get_user_model().objects.exists()
    for password in ("admin", "password", "tallyport", ""):
        values = {"login": "admin@localhost", "password": password}
        assert Client().post("/account/login/", values).status_code == 200
