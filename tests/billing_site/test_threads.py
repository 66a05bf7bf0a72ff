"""Each thread has a language of its own."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from zoneinfo import ZoneInfo

import pytest
from django.db import connections
from django.utils import timezone, translation
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext


def test_the_language_of_one_thread_is_not_that_of_another():
    both = threading.Barrier(2)

    def said(language):
        with translation.override(language):
            both.wait(10)
            return gettext("Invoice"), translation.get_language()

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(said, ["de", "es"])) == [("Rechnung", "de"), ("Factura", "es")]
        assert list(threads.map(lambda _: translation.get_language(), range(2))) == ["en", "en"]


def test_the_time_zone_of_one_thread_is_not_that_of_another():
    both = threading.Barrier(2)

    def zone(name):
        with timezone.override(ZoneInfo(name)):
            both.wait(10)
            return timezone.get_current_timezone_name()

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(zone, ["Asia/Tokyo", "Europe/Paris"])) == ["Asia/Tokyo", "Europe/Paris"]
        assert (
            list(threads.map(lambda _: timezone.get_current_timezone(), range(2)))
            == [timezone.get_default_timezone()] * 2
        )


def test_a_text_that_was_looked_up_is_still_that_of_each_language():
    for _ in range(2):
        for language, said in {"de": "Rechnung", "es": "Factura", "en": "Invoice"}.items():
            with translation.override(language):
                assert (gettext("Invoice"), gettext("No such text"), gettext("")) == (said, "No such text", "")


@pytest.mark.parametrize("first", [str, mark_safe])
def test_what_is_safe_in_a_template_stays_so_and_nothing_else_becomes_it(first):
    text = f"<b>{first.__name__}</b>"
    with translation.override("de"):
        gettext(first(text))
        assert isinstance(gettext(mark_safe(text)), SafeString)
        assert not isinstance(gettext(text), SafeString)


IN_A_PROCESS = """
import django, threading
django.setup()
from django.urls import base
from django.utils import timezone
from django.utils.translation import gettext, override, trans_real
kept = [trans_real._active, timezone._active, base._prefixes, base._urlconfs]
with override("de"):
    print({type(each) for each in kept} == {threading.local}, trans_real._active.value.to_language())
    gettext("Invoice")
    del trans_real._active.value._catalog
    print(gettext("Invoice"), base.get_script_prefix())
"""


def test_a_process_keeps_it_where_django_looks_for_it():
    """Not in this process, where another test may have changed the languages, and Django with them where it looks."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "billing_site.settings"}
    said = subprocess.run([sys.executable, "-c", IN_A_PROCESS], env=environment, capture_output=True, text=True)
    assert said.stdout.split() == ["True", "de", "Rechnung", "/"], said.stderr


def test_the_connections_of_one_thread_are_not_those_of_another():
    here = connections["default"]
    with ThreadPoolExecutor(1) as threads:
        there = threads.submit(lambda: connections["default"]).result()
    assert there is not here
    assert connections["default"] is here


BEFORE_THE_APPS = """
import django
from django.db import connections

before = connections["default"]
django.setup()
print(connections["default"] is before)
"""


def test_a_connection_that_there_was_stays_that_of_its_thread():
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "billing_site.settings"}
    said = subprocess.run([sys.executable, "-c", BEFORE_THE_APPS], env=environment, capture_output=True, text=True)
    assert said.stdout.split() == ["True"], said.stderr
