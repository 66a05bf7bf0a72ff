"""The one way in which providers speak HTTP: bounded in time, size and tries, and silent about secrets.

Requests only ask questions, so each of them, a POST included, may be sent again. Credentials belong into
`auth` or `headers`, never into an address: what a server says is shown without them, an address as it is.
"""

import json
import re
import ssl
import time
from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any, Self

import httpcore2
import httpx2
import stamina

from metering.providers import networks, trust
from metering.providers.base import Connection, Cost, Field, ProviderError
from metering.providers.base import gettext_noop as _
from metering.providers.secrecy import blotted

_TRUST = (
    ("system", _("Signed by an authority that the system trusts")),
    ("ca", _("Signed by the authority below")),
    ("fingerprint", _("Exactly the one with the fingerprint below")),
)
#: The settings by which `Client.to` trusts a server; its address is the setting `url`.
TLS = (
    Field("tls", _("Certificate"), "choice", initial="system", choices=_TRUST),
    Field("ca", _("CA certificate"), "lines", required=False, help=_("PEM text of the authority.")),
    Field(
        "fingerprint", _("Fingerprint"), required=False, help=_("SHA-256 of the certificate, 64 hexadecimal digits.")
    ),
)
#: How to read the fingerprint of a certificate where it lies, to compare it with the one that was seen.
COMPARE = "openssl x509 -noout -fingerprint -sha256 -in CERTIFICATE"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost. Times are in seconds, `size` is in bytes after decompression.

    `total` bounds a request with its retries and pauses (all but the look-up of the name, which the system
    bounds), as `Cost.ends` bounds all requests of a collection; `connect` is for each address of the server;
    `pause` is the longest wait before a retry that the server did not ask for.
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

    `auth` is a user name and password, or signs requests itself; `secrets` are what it knows. `ca` is PEM text
    of the only authority to trust, `fingerprint` the SHA-256 of the only certificate, whatever name and dates
    it bears; without them the system's authorities are trusted. Addresses in a network that may not be asked
    (metering.providers.networks) are not. Proxies and passwords in the environment are ignored. Raises
    ProviderError when the configuration cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: tuple[str, str] | httpx2.Auth | None = None,
        headers: Mapping[str, str] | None = None,
        secrets: Iterable[str] = (),
        ca: str = "",
        fingerprint: str = "",
        limits: Limits | None = None,
        cost: Cost | None = None,
    ) -> None:
        base, headers, self._limits = _base(url), headers or {}, limits or Limits()
        if (ca or fingerprint) and base.scheme != "https":
            raise ProviderError("The URL starts with http://, so there is no certificate to check. Write https://.")
        if bad := [name for name, value in headers.items() if not (value.isascii() and value.isprintable())]:
            raise ProviderError(f"The {bad[0]} header holds a line break or a letter outside ASCII. Enter it again.")
        known = {*secrets, *(word for value in headers.values() for word in value.split())}
        if isinstance(auth, tuple):
            known |= {auth[1], b64encode(":".join(auth).encode()).decode()}
        self._secrets = known - {""}
        self._cost = cost or Cost()
        self._network = _Network(_digits(fingerprint) if fingerprint else "")
        context = trust.whoever() if fingerprint else trust.authority(ca)
        transport = httpx2.HTTPTransport(verify=context)
        transport._pool = httpcore2.ConnectionPool(ssl_context=context, network_backend=self._network)
        timeout = httpx2.Timeout(self._limits.read, connect=self._limits.connect)
        self._client = httpx2.Client(
            base_url=base, auth=auth, headers=headers, timeout=timeout, transport=transport, trust_env=False
        )

    @classmethod
    def to(
        cls,
        connection: Connection,
        *,
        auth: tuple[str, str] | httpx2.Auth | None = None,
        headers: Mapping[str, str] | None = None,
        secrets: Iterable[str] = (),
        limits: Limits | None = None,
    ) -> Self:
        """Return a client of the server that a connection names by the settings `url` and those of TLS.

        All its credentials are blotted out where the server is quoted.
        """
        settings = connection.settings
        tls = settings.get("tls") or "system"
        trusted = str(settings.get(tls) or "").strip() if tls in ("ca", "fingerprint") else ""
        if tls != "system" and not trusted:
            what = {"ca": "CA certificate", "fingerprint": "fingerprint"}.get(str(tls), "way to trust a certificate")
            raise ProviderError(f"The {what} is missing. Enter it, or trust the authorities of the system.")
        return cls(
            str(settings.get("url") or ""),
            auth=auth,
            headers=headers,
            secrets={*secrets, *connection.credentials.values()},
            ca=trusted if tls == "ca" else "",
            fingerprint=trusted if tls == "fingerprint" else "",
            limits=limits,
            cost=connection.cost,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, params: Mapping[str, str] | None = None) -> bytes:
        """Return the body of `path`, which starts with a slash. Raises HttpError."""
        return self._ask(self._client.build_request("GET", path, params=params))

    def lines(self, path: str, params: Mapping[str, str] | None = None) -> Iterator[str]:
        """Yield the lines of `path` as they come, so that an answer of any length takes no room; `Limits.size` is
        for a line. Once one came, the server is not asked again. Raises HttpError."""
        self._network.ends = min(time.monotonic() + self._limits.total, self._cost.ends)
        request = self._client.build_request("GET", path, params=params)
        where, rest = request.url.copy_with(query=None), b""
        self._cost.calls += 1
        with self._told(where), closing(self._client.send(request, stream=True)) as response:
            if not response.is_success:
                raise self._refusal(response, response.read()[: self._limits.size], where)
            for chunk in response.iter_bytes():
                self._cost.bytes += len(chunk)
                *whole, rest = (rest + chunk).split(b"\n")
                if len(rest) > self._limits.size:
                    raise HttpError(f"{where} sent a line of more than {self._limits.size / 2**20:g} MiB.")
                for line in whole:
                    yield line.decode()
        if rest:
            yield rest.decode()

    def post(self, path: str, form: Mapping[str, str]) -> bytes:
        """Return the body with which `path` answers a form. Raises HttpError."""
        return self._ask(self._client.build_request("POST", path, data=form))

    def send(self, path: str, body: bytes, content_type: str) -> bytes:
        """Return the body with which `path` answers a question of that type. Raises HttpError."""
        headers = {"Content-Type": content_type}
        return self._ask(self._client.build_request("POST", path, content=body, headers=headers))

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
        self._network.ends = min(time.monotonic() + self._limits.total, self._cost.ends)
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
        if self._network.left() <= 0:
            raise HttpError(f"{where} was not asked: the time for all requests of this collection is over.")
        self._cost.calls += 1
        with self._told(where), closing(self._client.send(request, stream=True)) as response:
            for chunk in response.iter_bytes():
                body += chunk
                self._cost.bytes += len(chunk)
                if len(body) > size:
                    raise HttpError(f"{where} answered with more than {size / 2**20:g} MiB. Ask it for less.")
        if response.is_success:
            return bytes(body)
        raise self._refusal(response, bytes(body), where)

    @contextmanager
    def _told(self, where: httpx2.URL) -> Iterator[None]:
        """Say in words what goes wrong with a request."""
        try:
            yield
        except networks.Blocked as error:
            raise HttpError(f"{where} was not asked: {error}. Correct the URL, or BLOCKED_NETWORKS.") from None
        except _OtherCertificate as error:
            raise HttpError(
                f"{where} has a certificate with the fingerprint {error}, which is not the one entered. Nothing was "
                f"sent. Compare it on the server itself ({COMPARE}), and enter it only if it is the same."
            ) from None
        except (httpx2.HTTPError, UnicodeError) as error:
            # The original holds the request, and so the credentials: it stays out of tracebacks.
            raise self._failure(error, where) from None

    def _failure(self, error: Exception, where: httpx2.URL) -> HttpError:
        said, limits = self.quote(str(error)), self._limits
        match error:
            case httpx2.TimeoutException() if self._network.left() <= 0 and self._network.ends == self._cost.ends:
                return HttpError(
                    f"{where} did not answer before the time for all requests of this collection was over."
                )
            case httpx2.TimeoutException() if self._network.left() <= 0:
                return HttpError(f"{where} did not finish its answer within {limits.total:g} s. Is it overloaded?")
            case httpx2.ConnectTimeout():
                return HttpError(f"{where} did not connect within {limits.connect:g} s. Check it.", again=True)
            case httpx2.TimeoutException():
                return HttpError(f"{where} sent nothing for {limits.read:g} s. Is it overloaded?")
            case httpx2.ConnectError() if "CERTIFICATE_VERIFY_FAILED" in said:
                return HttpError(
                    f"{where} has a certificate that is not trusted: {said}. Enter the CA that signed it, or its "
                    f"fingerprint ({COMPARE} on the server)."
                )
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


class _OtherCertificate(Exception):
    """A server has another certificate than the one that is trusted; the text is its fingerprint."""


class _Network(httpcore2.SyncBackend):
    """Sockets to addresses that may be asked, that wait for nothing beyond the instant `ends` of the monotonic
    clock and, if there is a `fingerprint`, speak to nobody but the owner of that certificate.

    Only down here no drip gets past the deadline: headers, chunk sizes and compressed bytes that decode
    to nothing never reach whoever reads the body. And only down here nothing was sent yet.
    """

    def __init__(self, fingerprint: str) -> None:
        self.ends, self.fingerprint = 0.0, fingerprint

    def left(self) -> float:
        return self.ends - time.monotonic()

    def cap(self, timeout: float | None) -> float:
        if (left := self.left()) <= 0:
            raise httpcore2.ReadTimeout
        return left if timeout is None else min(left, timeout)

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, *rest: Any, **more: Any) -> "_Stream":
        try:
            *others, last = networks.look_up(host, port)
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        for address in others:
            with suppress(httpcore2.ConnectError, httpcore2.ConnectTimeout):
                return _Stream(super().connect_tcp(address, port, self.cap(timeout), *rest, **more), self)
        return _Stream(super().connect_tcp(last, port, self.cap(timeout), *rest, **more), self)


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
        stream = self._stream.start_tls(ssl_context, server_hostname, self._network.cap(timeout))
        if self._network.fingerprint:
            seen = sha256(stream.get_extra_info("socket").getpeercert(binary_form=True)).hexdigest()
            if seen != self._network.fingerprint:
                stream.close()
                raise _OtherCertificate(networks.written(seen))
        return _Stream(stream, self._network)

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


def _digits(fingerprint: str) -> str:
    digits = re.sub(r"[:\s]", "", fingerprint).lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise ProviderError(
            f"The fingerprint is not one of SHA-256, which has 64 hexadecimal digits. To read it: {COMPARE}"
        )
    return digits


def _wait(headers: Mapping[str, str]) -> float:
    """Return the seconds of Retry-After, 0 if it has none. A date is measured against the server's own clock."""
    value = headers.get("retry-after", "")
    try:
        if value.isdecimal():
            return float(value)
        return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(headers["date"])).total_seconds())
    except (KeyError, TypeError, ValueError):
        return 0.0


def _excerpt(text: str, secrets: Collection[str]) -> str:
    safe = blotted(text[:20_000], secrets)
    if len(text) > 20_000:
        # Of a secret that this cut in two the first half goes as well; a character is spelled with at most 12.
        safe = safe[: -12 * max(map(len, secrets), default=1)]
    shown = " ".join("".join(c if c.isprintable() else " " for c in safe[:2000]).split())
    return shown if len(shown) <= 200 else f"{shown[:199]}…"


def parse_json(body: bytes, secrets: Collection[str] = ()) -> Any:
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
