"""S24: what is logged stays on its line."""

import logging

from django.conf import settings

from billing_site.logs import OneLine


def written(message, *args, exc_info=None):
    record = logging.LogRecord("metering", logging.INFO, "x.py", 1, message, args, exc_info)
    return OneLine("%(levelname)s %(message)s").format(record)


def test_line_ends_and_colours_are_written_in_letters():
    assert written("server %s", "a\r\nINFO all is well \x1b[31m\u2028") == (
        "INFO server a\\r\\nINFO all is well \\x1b[31m\\u2028"
    )


def test_letters_of_all_languages_stay():
    assert written("Zählung für Øst, 数") == "INFO Zählung für Øst, 数"


def test_a_traceback_keeps_its_lines():
    try:
        raise ValueError("x")
    except ValueError as error:
        shown = written("it failed", exc_info=(type(error), error, error.__traceback__))
    assert shown.count("\n") > 2


def test_the_site_logs_like_that():
    assert settings.LOGGING["formatters"]["plain"]["()"] == "billing_site.logs.OneLine"
