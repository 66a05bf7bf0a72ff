"""The one way in which providers speak HTTP: bounded in time, size and tries, and silent about secrets.

Requests only ask questions, so each of them, a POST included, may be sent again. Credentials belong into
`auth` or `headers`, never into an address: only those two are blotted out where a server is quoted.
"""

import json
import re
import ssl
import time
from base64 import b64encode
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Self

import httpcore2
import httpx2
import stamina

from metering.providers.base import ProviderError


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost. Times are in seconds, `size` is in bytes after decompression.

    `total` bounds a request with its retries and pauses (all but the look-up of the name, which the system
    bounds); `pause` is the longest wait before a retry that the server did not ask for.
    """

    connect: float = 5
    read: float = 15
    total: float = 60
    size: int = 32 * 2**20
    retries: int = 3
    pause: float = 2


class HttpError(ProviderError):
    """A request failed. `status` and `body` are what the server answered; 0 and empty if it did not.

    `again` says whether another try may do better; a number is the seconds that the server asks to wait.
    """

    def __init__(self, message: str, *, status: int = 0, body: bytes = b"", again: bool | float = False) -> None:
        super().__init__(message)
        self.status, self.body, self.again = status, body, again


class Client:
    """Speaks to the server at `url`, from one thread, keeping its connection between requests.

    `ca` is PEM text of the only authority to trust; without it the system's are trusted. Proxies and
    passwords in the environment are ignored. Raises ProviderError when the configuration cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        ca: str = "",
        limits: Limits | None = None,
    ) -> None:
        headers, self._limits, self._network = headers or {}, limits or Limits(), _Network()
        if bad := [name for name, value in headers.items() if not (value.isascii() and value.isprintable())]:
            raise ProviderError(f"The {bad[0]} header holds a line break or a letter outside ASCII. Enter it again.")
        self._secrets = {word for value in headers.values() for word in value.split()}
        if auth:
            self._secrets |= {auth[1], b64encode(":".join(auth).encode()).decode()} - {""}
        trust = _trust(ca)
        transport = httpx2.HTTPTransport(verify=trust)
        transport._pool = httpcore2.ConnectionPool(ssl_context=trust, network_backend=self._network)
        timeout = httpx2.Timeout(self._limits.read, connect=self._limits.connect)
        self._client = httpx2.Client(
            base_url=_base(url), auth=auth, headers=headers, timeout=timeout, transport=transport, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, params: Mapping[str, str] | None = None) -> bytes:
        """Return the body of `path`, which starts with a slash. Raises HttpError."""
        return self._ask(self._client.build_request("GET", path, params=params))

    def post(self, path: str, form: Mapping[str, str]) -> bytes:
        """Return the body with which `path` answers a form. Raises HttpError."""
        return self._ask(self._client.build_request("POST", path, data=form))

    def read_json(self, body: bytes) -> Any:
        """Read an answer of this server with `parse_json`, naming the server when that fails."""
        try:
            return parse_json(body, self._secrets)
        except ProviderError as error:
            raise ProviderError(f"{self._client.base_url}: {error}") from None

    def quote(self, text: str) -> str:
        """Make a text of the server fit to be shown: short, on one line, without our credentials."""
        return _excerpt(text, self._secrets)

    def _ask(self, request: httpx2.Request) -> bytes:
        self._network.ends = time.monotonic() + self._limits.total
        tries, pause = 1 + self._limits.retries, self._limits.pause
        retrying = stamina.RetryingCaller(tries, None, wait_initial=pause / 8, wait_max=pause, wait_jitter=pause / 2)
        return retrying(self._again, self._send, request)

    def _again(self, error: Exception) -> bool | float:
        if not isinstance(error, HttpError) or not error.again:
            return False
        longest = self._limits.pause if error.again is True else error.again
        return error.again if longest < self._network.left() else False

    def _send(self, request: httpx2.Request) -> bytes:
        where, size, body = request.url.copy_with(query=None), self._limits.size, bytearray()
        try:
            with closing(self._client.send(request, stream=True)) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > size:
                        raise HttpError(f"{where} answered with more than {size / 2**20:g} MiB. Ask it for less.")
        except (httpx2.HTTPError, UnicodeError) as error:
            # The original holds the request, and so the credentials: it stays out of tracebacks.
            raise self._failure(error, where) from None
        if response.is_success:
            return bytes(body)
        raise self._refusal(response, bytes(body), where)

    def _failure(self, error: Exception, where: httpx2.URL) -> HttpError:
        said, limits = self.quote(str(error)), self._limits
        match error:
            case httpx2.TimeoutException() if self._network.left() <= 0:
                return HttpError(f"{where} did not finish its answer within {limits.total:g} s. Is it overloaded?")
            case httpx2.ConnectTimeout():
                return HttpError(f"{where} did not connect within {limits.connect:g} s. Check it.", again=True)
            case httpx2.TimeoutException():
                return HttpError(f"{where} sent nothing for {limits.read:g} s. Is it overloaded?")
            case httpx2.ConnectError() if "CERTIFICATE_VERIFY_FAILED" in said:
                return HttpError(f"{where} has a certificate that is not trusted: {said}. Enter the CA that signed it.")
            case httpx2.ConnectError() | UnicodeError():
                return HttpError(f"{where} cannot be reached: {said}. Check the address and the port.", again=True)
        again = isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError)
        return HttpError(
            f"{where} broke off its answer or speaks no HTTP: {said}. Check what listens there.", again=again
        )

    def _refusal(self, response: httpx2.Response, body: bytes, where: httpx2.URL) -> HttpError:
        status, onward = response.status_code, response.next_request
        wait = _wait(response.headers) if status == 429 or status >= 500 else None
        if 300 <= status < 400:
            to = onward.url.copy_with(userinfo=b"", query=None, fragment=None) if onward else "an unreadable address"
            problem = f"redirects to {self.quote(str(to))} ({status}), which is not followed. Enter the final address."
        elif status in (401, 403):
            problem = f"refuses the credentials ({status}). Check the user name and the password or token."
        elif status == 404:
            problem = "is not there (404). Check the URL."
        else:
            asked = f" and asks to wait {wait:g} s" if wait else ""
            problem = f"answered with status {status}{asked}. {self.quote(body.decode(errors='replace'))}".rstrip()
        again = wait is not None and (wait or True)
        return HttpError(f"{where} {problem}", status=status, body=body, again=again)


class _Network(httpcore2.SyncBackend):
    """Sockets that wait for nothing beyond the instant `ends` of the monotonic clock.

    Only down here no drip gets past the deadline: headers, chunk sizes and compressed bytes that decode
    to nothing never reach whoever reads the body.
    """

    ends = 0.0

    def left(self) -> float:
        return self.ends - time.monotonic()

    def cap(self, timeout: float | None) -> float:
        if (left := self.left()) <= 0:
            raise httpcore2.ReadTimeout
        return left if timeout is None else min(left, timeout)

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, *rest: Any, **more: Any) -> "_Stream":
        return _Stream(super().connect_tcp(host, port, self.cap(timeout), *rest, **more), self)


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream, network: _Network) -> None:
        self._stream, self._network = stream, network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._network.cap(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._network.cap(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> "_Stream":
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, self._network.cap(timeout)), self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _base(url: str) -> httpx2.URL:
    """Judge a URL with the parser that will connect. Its text is not repeated: it may hold a password."""
    try:
        base = httpx2.URL(url if re.fullmatch(r"[!-\[\]-~]+", url) else "")
    except httpx2.InvalidURL:
        base = httpx2.URL()
    if base.scheme not in ("http", "https") or not base.host or (base.port or 0) > 65535:
        raise ProviderError("The URL cannot be used. Write it as https://host or http://host:port, in plain ASCII.")
    if base.userinfo or base.query or base.fragment:
        raise ProviderError("The URL holds a user name, a password, a query or a fragment. Enter it without them.")
    return base


def _trust(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=ca.strip() or None)
    except (ssl.SSLError, TypeError, ValueError):
        raise ProviderError("The CA certificate is not in PEM form (-----BEGIN CERTIFICATE-----).") from None


def _wait(headers: Mapping[str, str]) -> float:
    """Return the seconds of Retry-After, 0 if it has none. A date is measured against the server's own clock."""
    value = headers.get("retry-after", "")
    try:
        if value.isdecimal():
            return float(value)
        return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(headers["date"])).total_seconds())
    except (KeyError, TypeError, ValueError):
        return 0.0


def _excerpt(text: str, secrets: Iterable[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "•••")
    shown = " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())
    return shown if len(shown) <= 200 else f"{shown[:199]}…"


def parse_json(body: bytes, secrets: Iterable[str] = ()) -> Any:
    """Read JSON strictly: nothing that JSON does not have, no key twice, numbers exactly (int or Decimal).

    Raises ProviderError. It quotes only what never was JSON, and without `secrets`: an answer that is
    merely damaged may hold the credentials of others.
    """
    try:
        data = json.loads(
            body.decode(),
            parse_float=lambda text: Decimal(_short(text)),
            parse_int=lambda text: int(_short(text)),
            parse_constant=_short,
            object_pairs_hook=_once,
        )
        _measure(data)
        if b"\\u" in body:  # an escape can be half of a surrogate pair, which is no character
            json.dumps(data, ensure_ascii=False, default=str).encode()
        return data
    except RecursionError:
        why = "it is nested too deeply"
    except UnicodeError:
        why = "it is not UTF-8 text"
    except (ValueError, ArithmeticError) as error:
        why = str(error)
    start = body[:1000].strip().lower()
    if not start:
        why = "it is empty"
    elif not start.startswith((b"{", b"[")):
        kind = "it looks like a login or error page" if b"<html" in start or b"<!doctype" in start else why
        why = f"{kind}: {_excerpt(body.decode(errors='replace'), secrets)}"
    raise ProviderError(f"The answer is not JSON: {why}")


def _short(number: str) -> str:
    if len(number) > 100 or not re.fullmatch(r"-?[0-9.]+([eE][+-]?[0-9]{1,3})?", number):
        raise ValueError(f"it holds {number[:20]!r}, which is no usable number")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("it holds a key twice")
    return found


def _measure(data: Any, depth: int = 0) -> None:
    if depth > 64:
        raise ValueError("it is nested too deeply")
    for child in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        _measure(child, depth + 1)
