"""Tables for a spreadsheet, as CSV: written as they come, and safe to open."""

import csv
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import islice
from typing import Any

#: What a spreadsheet takes for the beginning of a formula, also in full width and behind the blanks that it skips.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_BATCH = 500


def as_csv(rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """Yield rows as CSV, some hundred at a time, so that a long table needs no memory."""
    left = iter(rows)
    while batch := list(islice(left, _BATCH)):
        text = StringIO()
        csv.writer(text).writerows(batch)
        yield text.getvalue()


def as_text(words: str) -> str:
    """Keep a spreadsheet from working out what a person typed: an apostrophe makes it text."""
    return f"'{words}" if words.startswith(("\t", "\r", "\n")) or words.lstrip().startswith(_FORMULA) else words
