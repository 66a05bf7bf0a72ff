"""Arguments of commands, with errors that say what was expected."""

from argparse import ArgumentTypeError
from datetime import date, datetime


def day(text: str) -> date:
    """Return the date that `text` writes as YYYY-MM-DD."""
    return _parsed(text, "%Y-%m-%d", "a date such as 2026-11-19")


def month(text: str) -> date:
    """Return the first day of the month that `text` writes as YYYY-MM."""
    return _parsed(text, "%Y-%m", "a month such as 2026-11")


def _parsed(text: str, pattern: str, example: str) -> date:
    try:
        parsed = datetime.strptime(text, pattern).date()  # noqa: DTZ007 (a calendar day has no time zone)
        if parsed.strftime(pattern) == text:
            return parsed
    except ValueError:
        pass
    raise ArgumentTypeError(f"{text!r:.40} is not {example}")
