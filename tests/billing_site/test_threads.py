"""Each thread has a language of its own."""

import threading
from concurrent.futures import ThreadPoolExecutor

from django.utils import translation
from django.utils.translation import gettext, trans_real


def test_the_language_of_one_thread_is_not_that_of_another():
    both = threading.Barrier(2)

    def said(language):
        with translation.override(language):
            both.wait(10)
            return gettext("Invoice"), translation.get_language()

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(said, ["de", "es"])) == [("Rechnung", "de"), ("Factura", "es")]
        assert list(threads.map(lambda _: translation.get_language(), range(2))) == ["en", "en"]


def test_it_is_asked_for_without_a_call_in_python():
    with translation.override("de"):
        assert isinstance(trans_real._active, threading.local)
        assert trans_real._active.value.to_language() == "de"  # it is where Django keeps it
