"""What is pushed and imported, read into lines: JSON, NDJSON, CSV and CloudEvents.

Each line is read by itself: what is wrong with one becomes a Fault with its number and what to do, and the
others go on. Numbers are exact, whether they come as text or as JSON numbers. Nothing here knows a server: which
metrics there are, and what a value comes to, is for metering.push_lines.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple

from metering.decimals import NotANumber, parse
from metering.periods import Period, day, month

MAX_ID = 255
#: Before and behind the point, as text; a byte is the millionth of a millionth of a TB.
DIGITS, PLACES = 18, 18
#: Characters of a JSON number.
LONGEST = 60
FIELDS = ("id", "tenant", "metric", "value", "unit", "time", "period", "mode")
REQUIRED = ("tenant", "metric", "value")


class Format(StrEnum):
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    CLOUDEVENTS = "cloudevents"


class Mode(StrEnum):
    """What a line does with what counts for its period. An event that does not say adds where that can be."""

    SET = "set"
    ADD = "add"
    EVENT = "event"


class Line(NamedTuple):
    """One line that can be read. `number` is where it stands: a line of the text, or a place in a JSON array."""

    number: int
    id: str
    tenant: str
    metric: str
    value: Decimal
    unit: str
    time: datetime | None
    period: Period | None
    mode: Mode


class Fault(NamedTuple):
    """One line that cannot be used, with as much of it as could be read, and why."""

    number: int
    id: str
    tenant: str
    metric: str
    reason: str


class Unreadable(ValueError):
    """Nothing of it can be read. The message says why, and what to do."""


class TooMany(Unreadable):
    """There are more lines than are taken at once."""


def read(source: BinaryIO, form: Format, most: int) -> Iterator[Line | Fault]:
    """Yield the lines of a file or body, one by one, as they are read; JSON is read as a whole.

    Raises Unreadable, and TooMany when there are more than `most`.
    """
    number = 0
    for number, line in enumerate(_READERS[form](source), start=1):
        if number > most:
            raise TooMany(f"There are more than {most:,} lines. Send them in several parts.")
        yield line
    if not number:
        raise Unreadable("There is no line in it.")


def guess(name: str, head: bytes) -> Format:
    """Return the format of a file by the end of its name, else by how it begins."""
    suffix = name.rpartition(".")[2].lower()
    known = {"csv": Format.CSV, "json": Format.JSON, "ndjson": Format.NDJSON, "jsonl": Format.NDJSON}
    if suffix in known:
        return known[suffix]
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return {b"[": Format.JSON, b"{": Format.NDJSON}.get(first, Format.CSV)


# ---- JSON


class _Twice(str):
    """An object that has this name twice, which nobody can have meant."""


def _pairs(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        return _Twice(next(name for name in names if names.count(name) > 1))
    return found


def _number(digits: str) -> Decimal | str:
    # Longer ones would be rounded somewhere; as text they are refused with a reason.
    return Decimal(digits) if len(digits) <= LONGEST else digits


# Numbers become decimals from their very digits; NaN and Infinity, which are no JSON, stay words and are no number.
_decode = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=_number, parse_int=_number, parse_constant=str).decode


def _elements(source: BinaryIO) -> Iterator[tuple[int, Any]]:
    try:
        found = _decode(source.read().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Unreadable("It is not UTF-8.") from None
    except RecursionError:
        raise Unreadable("It is nested too deeply.") from None
    except ValueError as error:
        raise Unreadable(f"It is not JSON: {error}. Send NDJSON if there is an object on each line.") from None
    if isinstance(found, dict | _Twice):
        found = [found]
    if not isinstance(found, list):
        raise Unreadable("It is neither an object nor an array of objects.")
    yield from enumerate(found, start=1)


def _json(source: BinaryIO) -> Iterator[Line | Fault]:
    for number, each in _elements(source):
        yield _object(number, each)


def _cloud_events(source: BinaryIO) -> Iterator[Line | Fault]:
    for number, each in _elements(source):
        if isinstance(each, dict) and "specversion" not in each:
            yield _fault(number, each, "it is no CloudEvent: specversion is missing")
        else:
            yield _object(number, each)


def _ndjson(source: BinaryIO) -> Iterator[Line | Fault]:
    for number, raw in enumerate(source, start=1):
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            if text.isspace() or not text:
                continue
            found = _decode(text)
        except UnicodeDecodeError:
            yield Fault(number, "", "", "", "it is not UTF-8")
        except RecursionError:
            yield Fault(number, "", "", "", "it is nested too deeply")
        except ValueError as error:
            said = str(error).split(": line ")[0]
            yield Fault(number, "", "", "", f"it is not JSON: {said}. Each line must hold one whole object")
        else:
            yield _object(number, found)


def _object(number: int, found: Any) -> Line | Fault:
    if isinstance(found, _Twice):
        return Fault(number, "", "", "", f"it has {found[:40]!r} twice")
    if not isinstance(found, dict):
        return Fault(number, "", "", "", "it is not an object")
    return _event(number, found) if "specversion" in found else _line(number, found)


def _event(number: int, event: Mapping[str, Any]) -> Line | Fault:
    """Read a CloudEvent 1.0: its type is the metric, its subject the tenant, its source and id who it is."""
    data = event.get("data")
    if not isinstance(data, dict):
        return _fault(number, event, "an event needs data that is an object with a value")
    if event["specversion"] != "1.0":
        return _fault(number, event, "the specversion is not 1.0")
    names = {"id": "id", "source": "source", "type": "type", "subject": "subject"}
    if missing := [name for name in names if not isinstance(event.get(name), str) or not event[name]]:
        return _fault(number, event, f"an event needs text as its {', '.join(missing)}")
    if len(event["source"]) > MAX_ID or " " in event["source"] or not event["source"].isprintable():
        return _fault(number, event, f"the source is longer than {MAX_ID} characters, or has spaces or broken text")
    line = {name: data[name] for name in ("value", "unit", "period", "mode") if data.get(name) is not None}
    line |= {"id": event["id"], "tenant": event["subject"], "metric": event["type"]}
    if event.get("time") is not None and "period" not in line:
        line["time"] = event["time"]
    found = _line(number, line)
    if isinstance(found, Fault):
        return found
    return found._replace(id=f"{event['source']} {found.id}", mode=found.mode if "mode" in line else Mode.EVENT)


# ---- CSV


def _csv(source: BinaryIO) -> Iterator[Line | Fault]:
    texts = _texts(source)
    header = next(texts, "")
    if not header:
        return
    delimiter = ";" if header.count(";") > header.count(",") else ","
    try:
        names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    except csv.Error as error:
        raise Unreadable(f"The first line is not CSV: {error}.") from None
    _check_header(names)
    rows = csv.reader(texts, delimiter=delimiter, strict=True)
    while True:
        # The header is a line of its own; a quoted cell may run over several.
        number = rows.line_num + 2
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield Fault(number, "", "", "", f"it is not CSV: {error}")
            continue
        if not row:
            continue
        if len(row) == len(names):
            yield _line(number, {name: cell for name, cell in zip(names, row, strict=True) if cell})
        else:
            reason = f"it has {len(row)} cells, and the header {len(names)}; quote cells that hold a {delimiter!r}"
            yield Fault(number, "", "", "", reason)


def _texts(source: BinaryIO) -> Iterator[str]:
    first = True
    for raw in source:
        # What is not UTF-8 becomes text that no name may hold, so that its line alone is refused.
        text = raw.decode("utf-8-sig" if first else "utf-8", "surrogateescape")
        first = False
        yield text


def _check_header(names: list[str]) -> None:
    known = ", ".join(FIELDS)
    if missing := [name for name in REQUIRED if name not in names]:
        raise Unreadable(
            f"The first line must name the columns, and {', '.join(missing)} is not among them. Known are: {known}."
        )
    if unknown := [name for name in names if name not in FIELDS]:
        raise Unreadable(f"There is no field {unknown[0][:40]!r}. Known are: {known}.")
    if len(set(names)) < len(names):
        raise Unreadable("The first line names a column twice.")


# ---- what all of them have in common


def _line(number: int, found: Mapping[str, Any]) -> Line | Fault:
    """Read the fields of a line, as text but for values that are decimals. Null is as good as left out."""
    try:
        return _read(number, **found)
    except ValueError as error:
        return _fault(number, found, str(error))
    except TypeError:
        known = ", ".join(FIELDS)
        for name in found:
            if name not in FIELDS:
                return _fault(number, found, f"there is no field {name[:40]!r}; known are {known}")
        missing = [name for name in REQUIRED if name not in found]
        return _fault(number, found, f"{', '.join(missing)} is missing")


def _read(
    number: int,
    *,
    tenant: Any,
    metric: Any,
    value: Any,
    id: Any = None,
    unit: Any = None,
    time: Any = None,
    period: Any = None,
    mode: Any = None,
) -> Line:
    if type(tenant) is not str or type(metric) is not str or not tenant or not metric:
        raise ValueError(f"the {'tenant' if type(tenant) is not str or not tenant else 'metric'} must be text")
    if type(value) is str:
        try:
            value = parse(value, digits=DIGITS, places=PLACES)
        except NotANumber as error:
            raise ValueError(f"{error}; write it like 1234.5") from None
    elif type(value) is not Decimal:
        raise ValueError("the value is missing" if value is None else "the value must be a number, or text that is one")
    if id is None:
        id = ""
    elif type(id) is not str or not id or len(id) > MAX_ID or not id.isprintable():
        raise ValueError(f"the id must be text of at most {MAX_ID} characters")
    if unit is None:
        unit = ""
    elif type(unit) is not str:
        raise ValueError("the unit must be text, such as GB")
    if time is not None:
        if period is not None:
            raise ValueError("it has a time and a period; leave out one of them")
        if type(time) is not str:
            raise ValueError(_TIME)
        time = instant(time)
    if period is not None:
        if type(period) is not str:
            raise ValueError(_PERIOD)
        period = span(period)
    if mode is None or mode == "set":
        mode = Mode.SET
    elif mode == "add":
        mode = Mode.ADD
    else:
        raise ValueError("the mode must be set or add")
    return Line(number, id, tenant, metric, value, unit, time, period, mode)


def _fault(number: int, found: Mapping[str, Any], reason: str) -> Fault:
    texts = [found.get(name) for name in ("id", "tenant", "metric")]
    id, tenant, metric = (text if isinstance(text, str) else "" for text in texts)
    return Fault(number, id[:MAX_ID] if id.isprintable() else "", tenant, metric, reason)


_TIME = "the time must be one with its zone, such as 2026-11-20T10:00:00Z"
_PERIOD = "the period must be a month such as 2026-11, or a day such as 2026-11-20"
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_SPAN = re.compile(r"([0-9]{4}-[0-9]{2})(-[0-9]{2})?", re.ASCII)


@lru_cache(maxsize=4096)
def instant(text: str) -> datetime:
    """Return the instant that `text` writes as RFC 3339 has it. Raises ValueError."""
    try:
        if _RFC3339.fullmatch(text):
            return datetime.fromisoformat(text.upper())
    except ValueError:
        pass
    raise ValueError(_TIME)


@lru_cache(maxsize=1024)
def span(text: str) -> Period:
    """Return the month or the day that `text` names. Raises ValueError."""
    try:
        if found := _SPAN.fullmatch(text):
            return day(date.fromisoformat(text)) if found[2] else month(date.fromisoformat(f"{text}-01"))
    except (ValueError, OverflowError):
        pass
    raise ValueError(_PERIOD)


_READERS: Mapping[Format, Any] = {
    Format.JSON: _json,
    Format.NDJSON: _ndjson,
    Format.CSV: _csv,
    Format.CLOUDEVENTS: _cloud_events,
}


def batched(lines: Iterable[Line | Fault], size: int) -> Iterator[list[Line | Fault]]:
    """Yield the lines in lists of `size`."""
    batch: list[Line | Fault] = []
    for line in lines:
        batch.append(line)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
