"""`POST /api/v1/usage`: usage that is pushed, with a key of the server that it belongs to."""

import json
from io import BytesIO
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Field, Router, Schema
from ninja.errors import HttpError
from ninja.security import HttpBearer

from metering import formats, keys, push_keys, pushing
from metering.formats import FIELDS, Format, TooMany, Unreadable
from metering.models import PushKey
from metering.providers.base import ProviderError
from metering.push_lines import Status
from metering.pushing import MAX_BYTES, MAX_LINES, Outcome, Result
from metering.server_lock import Busy

TYPES = {
    "application/json": Format.JSON,
    "application/x-ndjson": Format.NDJSON,
    "application/ndjson": Format.NDJSON,
    "application/jsonl": Format.NDJSON,
    "text/csv": Format.CSV,
    "application/cloudevents+json": Format.CLOUDEVENTS,
    "application/cloudevents-batch+json": Format.CLOUDEVENTS,
}


class NoKey(HttpError):
    """The request shows no usable key."""

    def __init__(self) -> None:
        super().__init__(401, "Send a push key that is not revoked: Authorization: Bearer tp_…")


class PushKeyAuth(HttpBearer):
    """A push key in the header, and nothing else: no cookie opens this, so nobody's browser can be made to push."""

    def __call__(self, request: HttpRequest) -> Any:
        use = super().__call__(request)
        if use is None:
            raise NoKey
        return use

    def authenticate(self, request: HttpRequest, token: str) -> keys.Use[PushKey] | None:
        return push_keys.use(token, at=timezone.now())


router = Router(tags=["usage"], auth=PushKeyAuth())


class LineResult(Schema):
    """What became of one line, by where it stands: its line of the text, or its place in the array, from 1."""

    line: int
    status: int = Field(description="200: stored, or was before. 403, 409, 422: refused, and nothing of it stored.")
    duplicate: bool = Field(False, description="The same line was stored before under its id, and counts once.")
    id: str = Field("", description="Of a line that was refused.")
    error: str = Field("", description="Why it was refused, and what to do.")


class Taken(Schema):
    """What became of the lines."""

    lines: int
    stored: int = Field(description="How many lines count now that did not before.")
    duplicates: int
    refused: int
    dry_run: bool = Field(description="Whether nothing of this was stored.")
    results: list[LineResult] = Field(description="One for each line, in order.")


class Refused(Schema):
    """Why nothing was stored."""

    error: str = Field(examples=["There are more than 10,000 lines. Send them in several parts."])


_NUMBER = {
    "type": ["string", "number"],
    "description": "Not negative, with at most 18 digits before the point. Text is read exactly, and so are numbers.",
    "examples": ["1263225675", 12.5],
}
_MODE = {
    "type": "string",
    "enum": ["set", "add"],
    "description": "set: this is what counts for the period. add: added to what counts so far; needs an id, and a"
    " metric of type day or month.",
}
_LINE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["tenant", "metric", "value"],
    "properties": {
        "id": {
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": formats.MAX_ID,
            "description": "The same line with the same id counts once; another line with it is refused.",
        },
        "tenant": {"type": "string", "minLength": 1, "maxLength": 255},
        "metric": {"type": "string", "minLength": 1, "description": "A system name that the server declares."},
        "value": _NUMBER,
        "unit": {"type": ["string", "null"], "description": "Left out: that of the metric.", "examples": ["B", "GiB"]},
        "time": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "When it was measured. Left out, like the period: now.",
        },
        "period": {
            "type": ["string", "null"],
            "pattern": "^[0-9]{4}-[0-9]{2}(-[0-9]{2})?$",
            "description": "The month or day that it is for, in the server's time zone.",
            "examples": ["2026-11", "2026-11-20"],
        },
        "mode": {**_MODE, "type": ["string", "null"], "enum": ["set", "add", None], "default": "set"},
    },
}
_EVENT = {
    "type": "object",
    "required": ["specversion", "id", "source", "type", "subject", "data"],
    "properties": {
        "specversion": {"type": "string", "const": "1.0"},
        "id": {"type": "string", "minLength": 1, "maxLength": formats.MAX_ID},
        "source": {"type": "string", "minLength": 1, "description": "With the id it says which event this is."},
        "type": {"type": "string", "minLength": 1, "description": "The metric."},
        "subject": {"type": "string", "minLength": 1, "description": "The tenant."},
        "time": {"type": "string", "format": "date-time"},
        "data": {
            "type": "object",
            "required": ["value"],
            "properties": {
                "value": _NUMBER,
                "unit": _LINE["properties"]["unit"],  # type: ignore[index]
                "mode": {**_MODE, "description": "Left out: add for a metric of type day or month, set for others."},
            },
        },
    },
}
_TEXT = {"type": "string", "minLength": 1}
_BODY = {
    "required": True,
    "description": f"At most {MAX_LINES:,} lines and {MAX_BYTES:,} bytes, in UTF-8.",
    "content": {
        "application/json": {
            "schema": {"anyOf": [_LINE, {"type": "array", "minItems": 1, "maxItems": MAX_LINES, "items": _LINE}]},
            "example": {"id": "web1:2026-11-20T10", "tenant": "alice", "metric": "bandwidth", "value": "1263225675"},
        },
        "application/x-ndjson": {
            "schema": {**_TEXT, "description": "An object on each line."},
            "example": '{"tenant":"alice","metric":"disk_used","value":"5.2","unit":"GB"}\n',
        },
        "text/csv": {
            "schema": {**_TEXT, "description": f"A header and its rows, with , or ; between: {', '.join(FIELDS)}."},
            "example": "tenant,metric,value,unit\nalice,disk_used,5368709120,B\n",
        },
        "application/cloudevents+json": {"schema": _EVENT},
        "application/cloudevents-batch+json": {"schema": {"type": "array", "minItems": 1, "items": _EVENT}},
    },
}


@router.post(
    "/usage",
    response={
        200: Taken,
        207: Taken,
        **dict.fromkeys([401, 403, 409, 411, 413, 415, 422, 429, 503], Refused),
    },
    operation_id="push_usage",
    summary="Push usage",
    openapi_extra={"requestBody": _BODY},
)
def push_usage(request: HttpRequest, dry_run: bool = False) -> HttpResponse:
    """Store what tenants used, a line for each value; or with `dry_run`, only say what would become of them.

    200: every line is stored, or was before. 207: some lines were refused, as their results say, and the others are
    stored. A request of a single line that is refused is answered with the status of that line. Nothing is stored
    with any other status; 429 and 503 say when to try again.
    """
    use: keys.Use[PushKey] = request.auth  # type: ignore[attr-defined]
    server = use.key.server
    if use.requests > settings.PUSHES_PER_MINUTE:
        said = f"More than {settings.PUSHES_PER_MINUTE} requests in a minute. Send more lines in each."
        return _refused(429, said, retry_after=use.seconds_left)
    if not server.is_active:
        return _refused(403, f"{server} is not active.")
    try:
        form, body = _form(request), _body(request)
        lines = list(formats.read(BytesIO(body), form, MAX_LINES))
        outcome = pushing.push(
            server=server,
            lines=lines,
            at=timezone.now(),
            size=len(body),
            allowed=use.key.metrics,
            is_dry=dry_run,
            is_listed=True,
        )
    except _Unusable as error:
        return _refused(error.status, str(error))
    except TooMany as error:
        return _refused(413, str(error))
    except Unreadable as error:
        return _refused(422, str(error))
    except Busy as error:
        return _refused(503, str(error), retry_after=1)
    except ProviderError as error:
        return _refused(403, str(error))
    if outcome.lines == 1 and outcome.refused:
        return _refused(outcome.results[0].status, f"{_sentence(outcome.results[0].error)}")
    return _answer(outcome, dry_run)


class _Unusable(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def _form(request: HttpRequest) -> Format:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _Unusable(415, "The body is compressed. Send it as it is.")
    kind = (request.content_type or "").lower()
    if kind not in TYPES:
        raise _Unusable(415, f"The content type {kind[:60]!r} is not known. Known are: {', '.join(TYPES)}.")
    return TYPES[kind]


def _body(request: HttpRequest) -> bytes:
    """Return the body, of which no more is read than may be sent."""
    length = request.META.get("CONTENT_LENGTH") or ""
    if not length.isdecimal():
        raise _Unusable(411, "Say how long the body is: Content-Length.")
    body = b"" if len(length) > 18 or int(length) > MAX_BYTES else request.read(MAX_BYTES + 1)
    if int(length[:18]) > MAX_BYTES or len(body) > MAX_BYTES:
        raise _Unusable(413, f"The body is longer than {MAX_BYTES:,} bytes. Send it in several parts.")
    return body


def _answer(outcome: Outcome, is_dry: bool) -> HttpResponse:
    counts = (
        f'"lines":{outcome.lines},"stored":{outcome.stored},"duplicates":{outcome.duplicates},'
        f'"refused":{outcome.refused},"dry_run":{json.dumps(is_dry)}'
    )
    # Written by hand, since there is an object for each line, and most of them say the same.
    results = ",".join(map(_result, outcome.results))
    status = 207 if outcome.refused else 200
    return _json(f'{{{counts},"results":[{results}]}}', status)


def _result(result: Result) -> str:
    if result.is_duplicate:
        return f'{{"line":{result.line},"status":200,"duplicate":true}}'
    if result.status == Status.STORED:
        return f'{{"line":{result.line},"status":200}}'
    return json.dumps({"line": result.line, "status": result.status, "id": result.id, "error": result.error})


def _refused(status: int, reason: str, retry_after: int | None = None) -> HttpResponse:
    response = _json(json.dumps({"error": reason}), status)
    if retry_after is not None:
        response["Retry-After"] = str(retry_after)
    return response


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}."


def _json(text: str, status: int) -> HttpResponse:
    return HttpResponse(text, content_type="application/json", status=status)
