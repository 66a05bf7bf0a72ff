"""Each thread has a language of its own."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from django.utils import translation
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


IN_A_PROCESS = """
import django, threading
django.setup()
from django.utils.translation import override, trans_real
with override("de"):
    print(type(trans_real._active) is threading.local, trans_real._active.value.to_language())
"""


def test_a_process_keeps_it_where_django_looks_for_it():
    """Not in this process, where another test may have changed the languages, and Django with them where it looks."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "billing_site.settings"}
    said = subprocess.run([sys.executable, "-c", IN_A_PROCESS], env=environment, capture_output=True, text=True)
    assert said.stdout.split() == ["True", "de"], said.stderr
