"""HTTP as providers speak it: every fault ends in bounded time, with a message that says what and holds no secret."""

import gzip
import html
import json
import math
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from traceback import format_exception
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from werkzeug import Request, Response

from metering.providers.base import Connection, Cost, ProviderError
from metering.providers.http import Client, HttpError, Limits, parse_json
from tests.metering.real_prometheus import free_port

QUICK = Limits(connect=0.5, read=0.3, total=0.6, size=10_000, retries=2, pause=0.02)
PASSWORD = "p@ss:w/rd%21"
TOKEN = "tok-5e6f7a8b9c"


def a_client(url: str, limits: Limits = QUICK, **options: Any) -> Client:
    return Client(url, limits=limits, **options)


def why(ask: Callable[[], object]) -> str:
    """Return the message with which something is refused, and make sure that its traceback holds no more."""
    with pytest.raises(ProviderError) as refused:
        ask()
    trace = "".join(format_exception(refused.value))
    for secret in (PASSWORD, TOKEN, b64encode(f"tally:{PASSWORD}".encode()).decode()):
        assert secret not in trace
    assert "site-packages/httpx2" not in trace
    return str(refused.value)


@contextmanager
def a_raw_server(*pieces: bytes, pause: float = 0.0, forever: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """Answer each connection with the pieces, whatever HTTP says. Yields the URL and the requests so far."""
    requests: list[bytes] = []
    stopped = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            requests.append(connection.recv(65536))
            for piece in pieces:
                connection.sendall(piece)
            while forever and not stopped.wait(pause):
                connection.sendall(pieces[-1])

    def listen(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
        stopped.set()
        listener.shutdown(socket.SHUT_RDWR)


def an_answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def seconds(ask: Callable[[], object]) -> float:
    start = time.monotonic()
    ask()
    return time.monotonic() - start


def test_a_body_comes_back_as_it_is(httpserver):
    httpserver.expect_request("/base/x", query_string="a=1%262").respond_with_data(b"\x00body")
    with a_client(httpserver.url_for("/base/")) as client:
        assert client.get("/x", {"a": "1&2"}) == b"\x00body"


def test_a_form_is_posted_with_the_credentials(httpserver):
    def answer(request: Request) -> Response:
        return Response(json.dumps([request.form["query"], request.headers["Authorization"]]))

    encoded = b64encode(f"tally:{PASSWORD}".encode()).decode()
    httpserver.expect_request("/q", method="POST").respond_with_handler(answer)
    with a_client(httpserver.url_for(""), auth=("tally", PASSWORD)) as client:
        assert client.read_json(client.post("/q", {"query": "up{a=~'b.*'}"})) == ["up{a=~'b.*'}", f"Basic {encoded}"]


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "ftp://example.org",
        "127.0.0.1:9090",
        "http://",
        "http://a b/",
        "http://a\r\nHost: b/",
        "http://a\\@b/",
        "http://exämple.org",
        "http://a:99999",
        "",
    ],
)
def test_a_url_that_is_none_is_refused(url):
    assert "The URL cannot be used" in why(lambda: a_client(url))


@pytest.mark.parametrize(
    "url", [f"http://tally:{TOKEN}@a", f"http://{TOKEN}@a", f"http://a/?token={TOKEN}", f"http://a/#{TOKEN}"]
)
def test_a_url_with_a_credential_is_refused_and_not_repeated(url):
    assert "The URL holds" in why(lambda: a_client(url))


def test_a_header_with_a_line_break_is_refused_and_not_repeated():
    assert "Authorization" in why(lambda: a_client("http://a", headers={"Authorization": f"Bearer {TOKEN}\r\nX: y"}))


def test_nobody_listening_is_an_error_after_retries(caplog):
    assert "cannot be reached" in why(lambda: a_client(f"http://127.0.0.1:{free_port()}").get("/"))
    assert [record.message for record in caplog.records] == ["stamina.retry_scheduled"] * 2


def test_a_connection_that_is_not_accepted_is_given_up():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        limits = Limits(connect=0.2, retries=1, pause=0.02)
        with socket.create_connection(address):  # the queue is full: whoever comes now gets no answer
            took = seconds(lambda: why(lambda: a_client(f"http://127.0.0.1:{address[1]}", limits).get("/")))
    assert 0.4 <= took < 1


def test_a_query_is_not_repeated_in_errors(httpserver):
    httpserver.expect_request("/x").respond_with_data("no", status=400)
    message = why(lambda: a_client(httpserver.url_for("")).get("/x", {"token": TOKEN}))
    assert message == f"{httpserver.url_for('/x')} answered with status 400. no"


def test_an_empty_password_blots_out_nothing():
    assert a_client("http://a", auth=("tally", "")).quote("out of memory") == "out of memory"


def test_a_name_that_cannot_be_looked_up_is_an_error():
    assert "cannot be reached" in why(lambda: a_client(f"http://{'a' * 64}.invalid").get("/"))


def test_a_server_that_says_nothing_is_left_after_the_read_time_without_a_retry():
    with a_raw_server(b"", forever=True, pause=5) as (url, requests):
        assert "sent nothing for 0.3 s" in why(lambda: a_client(url).get("/"))
    assert len(requests) == 1


@pytest.mark.parametrize(
    "drip",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", id="body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Long: ", id="header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;long=", id="size of a chunk"),
        pytest.param(
            # The name of a file in front of compressed data decodes to nothing, however long it is.
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x03name",
            id="gzip",
        ),
    ],
)
def test_a_drip_is_cut_at_the_deadline(drip):
    with a_raw_server(drip, b"x", forever=True, pause=0.02) as (url, requests):
        took = seconds(lambda: why(lambda: a_client(url).get("/")))
        assert "did not finish its answer within 0.6 s" in why(lambda: a_client(url).get("/"))
    assert 0.5 < took < 1.5
    assert len(requests) == 2


def test_silence_and_a_flood_are_cut_at_the_deadline_as_well():
    limits = Limits(total=0.3, size=2**30)
    with a_raw_server(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 10, forever=True) as (url, _):
        assert "did not finish its answer within 0.3 s" in why(lambda: a_client(url, limits).get("/"))
    with a_raw_server(b"", forever=True, pause=5) as (url, _):
        assert seconds(lambda: why(lambda: a_client(url, limits).get("/"))) < 1


def test_a_flood_is_cut_at_the_size():
    with a_raw_server(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 5000, forever=True) as (url, requests):
        assert "more than 0.00953674 MiB" in why(lambda: a_client(url).get("/"))
    assert len(requests) == 1


def test_a_gzip_bomb_is_cut_at_its_decompressed_size():
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(256)) + packer.flush()  # 256 MiB in 260 kB
    with a_raw_server(an_answer("200 OK", bomb, "Content-Encoding: gzip")) as (url, _):
        tracemalloc.start()
        try:
            assert "more than 1 MiB" in why(lambda: a_client(url, Limits(size=2**20)).get("/"))
            assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
        finally:
            tracemalloc.stop()


def test_compressed_data_within_the_size_is_read(httpserver):
    httpserver.expect_request("/").respond_with_data(gzip.compress(b"x" * 9000), headers={"Content-Encoding": "gzip"})
    assert a_client(httpserver.url_for("")).get("/") == b"x" * 9000


def test_a_content_encoding_that_lies_is_an_error(httpserver):
    httpserver.expect_request("/").respond_with_data(b"plain", headers={"Content-Encoding": "gzip"})
    assert "incorrect header check" in why(lambda: a_client(httpserver.url_for("")).get("/"))


def test_a_truncated_body_is_an_error_after_retries():
    with a_raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{") as (url, requests):
        assert "broke off its answer" in why(lambda: a_client(url).get("/"))
    assert len(requests) == 3


def test_what_is_not_http_is_an_error():
    with a_raw_server(b"SSH-2.0-OpenSSH_9.2\r\n") as (url, _):
        assert "speaks no HTTP" in why(lambda: a_client(url).get("/"))


@pytest.mark.parametrize(
    ("to", "shown"),
    [
        (f"http://u:{TOKEN}@169.254.169.254/latest?key={TOKEN}#{TOKEN}", "http://169.254.169.254/latest"),
        ("/login", "/login"),
        ("file:///etc/passwd", "/etc/passwd"),
        ("gopher://a/", "gopher://a/"),
        ("http://a:port", "an unreadable address"),
    ],
)
def test_a_redirect_is_not_followed_and_says_where_to_without_credentials(to, shown):
    with a_raw_server(an_answer("302 Found", b"", f"Location: {to}")) as (url, requests):
        message = why(lambda: a_client(url, auth=("tally", PASSWORD)).get("/"))
    assert f"{shown} (302), which is not followed" in message
    assert len(requests) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_tried_once(httpserver, status):
    httpserver.expect_request("/").respond_with_data("no", status=status)
    message = why(lambda: a_client(httpserver.url_for(""), auth=("tally", PASSWORD)).get("/"))
    assert f"refuses the credentials ({status})" in message
    assert len(httpserver.log) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_an_overloaded_server_is_asked_again(httpserver, status):
    httpserver.expect_ordered_request("/").respond_with_data("busy", status=status)
    httpserver.expect_ordered_request("/").respond_with_data("busy", status=status)
    httpserver.expect_ordered_request("/").respond_with_data("fine")
    assert a_client(httpserver.url_for("")).get("/") == b"fine"


def test_it_gives_up_after_the_retries_and_keeps_what_was_said(httpserver):
    httpserver.expect_request("/").respond_with_data("<b>out of\x00 memory</b>", status=500)
    with pytest.raises(HttpError, match="status 500") as refused:
        a_client(httpserver.url_for("")).get("/")
    assert str(refused.value).endswith("<b>out of memory</b>")
    assert (refused.value.status, refused.value.body) == (500, b"<b>out of\x00 memory</b>")
    assert len(httpserver.log) == 3


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_mistake_of_ours_is_not_repeated(httpserver, status):
    httpserver.expect_request("/").respond_with_data("no", status=status)
    assert f"{status}" in why(lambda: a_client(httpserver.url_for("")).get("/"))
    assert len(httpserver.log) == 1


@pytest.mark.parametrize(
    "headers",
    [
        ["Retry-After: 1"],
        ["Date: Sun, 01 Nov 2026 00:00:00 GMT", "Retry-After: Sun, 01 Nov 2026 00:00:01 GMT"],
    ],
)
def test_the_wait_that_a_server_asks_for_is_kept(headers):
    with a_raw_server(an_answer("429 Too Many Requests", b"", *headers)) as (url, requests):
        took = seconds(lambda: why(lambda: a_client(url, Limits(retries=1, pause=0.02)).get("/")))
    assert 0.95 < took < 1.5
    assert len(requests) == 2


@pytest.mark.parametrize("wait", ["3600", "9" * 400])
def test_a_wait_beyond_the_deadline_is_not_begun(httpserver, wait):
    httpserver.expect_request("/").respond_with_data("", status=429, headers={"Retry-After": wait})
    took = seconds(lambda: why(lambda: a_client(httpserver.url_for("")).get("/")))
    assert took < 0.5
    assert len(httpserver.log) == 1


@pytest.mark.parametrize("wait", ["soon", "-5", "Sun, 01 Nov 2026 00:00:00 GMT", ""])
def test_a_wait_that_cannot_be_read_is_ours_to_choose(httpserver, wait):
    httpserver.expect_ordered_request("/").respond_with_data("", status=429, headers={"Retry-After": wait})
    httpserver.expect_ordered_request("/").respond_with_data("fine")
    assert a_client(httpserver.url_for("")).get("/") == b"fine"


@pytest.mark.parametrize(
    ("secret", "options"),
    [
        (PASSWORD, {"auth": ("tally", PASSWORD)}),
        (TOKEN, {"headers": {"Authorization": f"Bearer {TOKEN}"}}),
    ],
)
def test_a_server_that_echoes_our_credentials_does_not_get_them_shown(httpserver, secret, options):
    def answer(request: Request) -> Response:
        return Response(f"<html>{request.headers['Authorization']} {'x' * 150}{secret}", status=400)

    httpserver.expect_request("/").respond_with_handler(answer)
    with a_client(httpserver.url_for(""), **options) as client:
        assert why(lambda: client.get("/")).count("•••") >= 2
        assert "•••" in why(lambda: client.read_json(f"<html>{secret}".encode()))


def test_a_retry_is_logged_without_credentials(httpserver, caplog):
    httpserver.expect_ordered_request("/").respond_with_data(PASSWORD, status=500)
    httpserver.expect_ordered_request("/").respond_with_data("fine")
    with caplog.at_level(0):
        a_client(httpserver.url_for(""), auth=("tally", PASSWORD)).get("/")
    records = [str(vars(record)) for record in caplog.records]
    assert any("stamina.retry_scheduled" in record for record in records)
    assert PASSWORD not in "".join(records)


def test_proxies_of_the_environment_are_ignored(httpserver, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    httpserver.expect_request("/").respond_with_data("fine")
    assert a_client(httpserver.url_for("")).get("/") == b"fine"


def a_certificate(host: str = "127.0.0.1", days: int = 1) -> tuple[str, str]:
    """Return a self-signed certificate and its key as PEM text."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem).decode(), private.decode()


@contextmanager
def a_tls_server(certificate: str, key: str, tmp_path: Any, received: list[bytes] | None = None) -> Iterator[str]:
    """Answer with "fine". What was received on each connection is added to `received`."""

    class Fine(BaseHTTPRequestHandler):
        def handle(self) -> None:
            first = b""
            with suppress(OSError):  # who hangs up may leave words of ours unread, which is an error then
                first = self.rfile.peek(1)
            if received is not None:
                received.append(first)
            with suppress(OSError):
                super().handle()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"fine")

        def log_message(self, *_: Any) -> None:
            pass

    (tmp_path / "pem").write_text(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    with HTTPServer(("127.0.0.1", 0), Fine) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a refused handshake is expected
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_authority_that_is_configured_is_trusted(tmp_path):
    certificate, key = a_certificate()
    with a_tls_server(certificate, key, tmp_path) as url:
        assert a_client(url, ca=certificate).get("/") == b"fine"


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        ({}, "self-signed certificate"),
        ({"host": "127.0.0.2", "trusted": True}, "IP address mismatch"),
        ({"days": -1, "trusted": True}, "certificate has expired"),
    ],
)
def test_a_certificate_that_proves_nothing_is_refused_at_once(tmp_path, certificate, reason):
    trusted = certificate.pop("trusted", False)
    text, key = a_certificate(**certificate)
    with a_tls_server(text, key, tmp_path) as url:
        message = why(lambda: a_client(url, Limits(pause=5), ca=text if trusted else "").get("/"))
    assert "not trusted" in message
    assert reason in message


@pytest.mark.parametrize("ca", ["nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "ümlaut"])
def test_an_authority_that_is_no_pem_is_refused(ca):
    assert "PEM" in why(lambda: a_client("https://127.0.0.1", ca=ca))


def a_fingerprint(certificate: str) -> str:
    return sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()


def with_colons(digest: str) -> str:
    return ":".join(digest[at : at + 2] for at in range(0, 64, 2))


@pytest.mark.parametrize("write", [str, str.upper, with_colons, lambda digest: f" {with_colons(digest).upper()}\n"])
@pytest.mark.parametrize("certificate", [{}, {"host": "192.0.2.1"}, {"days": -1}])
def test_the_certificate_with_the_fingerprint_is_trusted_whoever_signed_it(tmp_path, write, certificate):
    text, key = a_certificate(**certificate)
    with a_tls_server(text, key, tmp_path) as url:
        assert a_client(url, fingerprint=write(a_fingerprint(text))).get("/") == b"fine"


def test_another_certificate_than_the_one_with_the_fingerprint_gets_no_byte_of_a_request(tmp_path):
    (certificate, key), (other, _) = a_certificate(), a_certificate()
    with a_tls_server(certificate, key, tmp_path, received := []) as url:
        options = {"fingerprint": a_fingerprint(other), "auth": ("tally", PASSWORD)}
        message = why(lambda: a_client(url, Limits(pause=5), **options).get("/"))
        assert with_colons(a_fingerprint(certificate)).upper() in message
        assert "Compare it on the server itself" in message
        # the server takes one connection after the other, so that the first is over when the second is answered
        assert a_client(url, fingerprint=a_fingerprint(certificate)).get("/") == b"fine"
        assert received[0] == b""
        assert received[1].startswith(b"GET / HTTP/1.1")


@pytest.mark.parametrize("other", [{"host": "127.0.0.1"}, {"signed": "by the system"}])
def test_nothing_else_than_the_fingerprint_is_asked_for_trust(tmp_path, monkeypatch, other):
    """An authority that the system trusts cannot stand in for the one certificate."""
    certificate, key = a_certificate()
    (tmp_path / "authorities.pem").write_text(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authorities.pem"))
    with a_tls_server(certificate, key, tmp_path) as url:
        assert a_client(url).get("/") == b"fine"
        assert "which is not the one entered" in why(lambda: a_client(url, fingerprint="0" * 64).get("/"))


@pytest.mark.parametrize("fingerprint", ["nonsense", "0" * 63, "0" * 40, "0" * 65, "g" * 64, "٣" * 64])
def test_a_fingerprint_that_is_none_is_refused(fingerprint):
    assert "64 hexadecimal digits" in why(lambda: a_client("https://127.0.0.1", fingerprint=fingerprint))


@pytest.mark.parametrize("options", [{"fingerprint": "0" * 64}, {"ca": "-----BEGIN CERTIFICATE-----"}])
def test_a_certificate_to_trust_needs_https(options):
    assert "there is no certificate to check" in why(lambda: a_client("http://127.0.0.1", **options))


def a_connection(cost: Cost | None = None, credentials: dict[str, str] | None = None, **settings: Any) -> Connection:
    return Connection(settings, credentials or {}, datetime(2026, 11, 19, tzinfo=UTC), UTC, cost or Cost())


def test_a_connection_says_how_its_server_is_trusted(tmp_path):
    certificate, key = a_certificate()
    every = {"ca": certificate, "fingerprint": a_fingerprint(certificate)}
    with a_tls_server(certificate, key, tmp_path) as url:
        for tls in ("ca", "fingerprint"):
            assert Client.to(a_connection(url=url, tls=tls, **every), limits=QUICK).get("/") == b"fine"
        # What is entered beside another choice is not used.
        assert "not trusted" in why(lambda: Client.to(a_connection(url=url, **every), limits=QUICK).get("/"))
        assert "missing" in why(lambda: Client.to(a_connection(url=url, tls="ca", ca=" ")))
        assert "missing" in why(lambda: Client.to(a_connection(url=url, tls="fingerprint")))
        assert "missing" in why(lambda: Client.to(a_connection(url=url, tls="no")))


def test_all_requests_of_a_collection_share_its_deadline():
    cost = Cost(ends=time.monotonic() + 0.5)
    with (
        a_raw_server(an_answer("200 OK", b"fine")) as (url, fine),
        a_raw_server(b"", forever=True, pause=5) as (mute, _),
    ):
        start = time.monotonic()
        with Client.to(a_connection(cost, url=url)) as first:
            assert first.get("/") == b"fine"
        with Client.to(a_connection(cost, url=mute)) as second:
            assert "before the time for all requests of this collection was over" in why(lambda: second.get("/"))
        assert time.monotonic() - start < 1
        with Client.to(a_connection(cost, url=url)) as third:
            assert "was not asked: the time for all requests" in why(lambda: third.get("/"))
    assert len(fine) == 1
    assert cost.calls == 2


def test_no_retry_begins_after_the_deadline_of_a_collection():
    cost = Cost(ends=time.monotonic() + 0.4)
    with a_raw_server(an_answer("503 Busy", b"", "Retry-After: 1")) as (url, requests):
        assert seconds(lambda: why(lambda: Client.to(a_connection(cost, url=url)).get("/"))) < 0.3
    assert len(requests) == cost.calls == 1


def test_what_was_asked_is_counted_with_its_retries_and_bytes(httpserver):
    httpserver.expect_ordered_request("/").respond_with_data("busy", status=503)
    httpserver.expect_ordered_request("/").respond_with_data(
        gzip.compress(b"x" * 9000), headers={"Content-Encoding": "gzip"}
    )
    connection = a_connection(url=httpserver.url_for(""))
    Client.to(connection, limits=QUICK).get("/")
    assert (connection.cost.calls, connection.cost.bytes, connection.cost.ends) == (2, 9004, math.inf)


def test_a_bomb_within_a_bomb_is_cut_at_its_decompressed_size():
    bomb = bytes(64 * 2**20)
    for _ in range(3):
        bomb = gzip.compress(bomb)
    with a_raw_server(an_answer("200 OK", bomb, "Content-Encoding: gzip, gzip, gzip")) as (url, _):
        tracemalloc.start()
        try:
            assert "more than 1 MiB" in why(lambda: a_client(url, Limits(size=2**20)).get("/"))
            assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "write", [quote, quote_plus, lambda text: quote(text, safe=""), html.escape, lambda text: json.dumps(text)[1:-1]]
)
def test_credentials_of_a_connection_are_blotted_out_however_a_server_writes_them(write):
    secret = 's&cret/ "<é>\\'
    with Client.to(a_connection(url="http://a", credentials={"token": secret, "other": ""})) as client:
        assert client.quote(f"[{write(secret)}]") == "[•••]"


def test_no_half_of_a_credential_is_shown_where_a_long_answer_is_cut():
    with a_client("http://a", secrets=[secret := "half-of-it-" * 4]) as client:
        for spaces in range(19_950, 20_001):
            assert "half" not in client.quote(" " * spaces + secret + "x" * 100)


def test_numbers_are_exact():
    assert parse_json(b'{"a": 9007199254740993, "b": 0.1, "c": 5.24288e+08}') == {
        "a": 9007199254740993,
        "b": Decimal("0.1"),
        "c": Decimal("524288000"),
    }
    assert isinstance(parse_json(b"[0.1]")[0], Decimal)


@pytest.mark.parametrize("body", [b"", b" \n", b"\t"])
def test_an_empty_body_is_said_to_be_empty(body):
    assert why(lambda: parse_json(body)) == "The answer is not JSON: it is empty"


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>Sign in</title>", b"\n<HTML><body>Sign in"])
def test_a_page_for_people_is_said_to_be_one(page):
    message = why(lambda: parse_json(page))
    assert message.startswith("The answer is not JSON: it looks like a login or error page")
    assert "Sign in" in message


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a": NaN}', "'NaN'"),
        (b"[Infinity]", "'Infinity'"),
        (b"[-Infinity]", "'-Infinity'"),
        (b"[" + b"1" * 5000 + b"]", "no usable number"),
        (b"[1e9999]", "no usable number"),
        (b"[" + b"0." + b"1" * 5000 + b"]", "no usable number"),
        (b'{"a": 1, "a": 2}', "a key twice"),
        (b'[{"b": {"a": 1, "a": 1}}]', "a key twice"),
        (b"[" * 66 + b"]" * 66, "nested too deeply"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested too deeply"),
        (b"[" * 1_000_000, "nested too deeply"),
        (b'["\\ud800"]', "not UTF-8"),
        (b'{"\\udfff": 1}', "not UTF-8"),
        (b'["\xed\xa0\x80"]', "not UTF-8"),
        (b'["\xff"]', "not UTF-8"),
        (b'{"a": 1', "delimiter"),
        (b'{"a": 1} x', "Extra data"),
        (b"{'a': 1}", "quotes"),
        (b'["\x00"]', "control character"),
    ],
)
def test_what_is_not_strictly_json_is_refused(body, reason):
    message = why(lambda: parse_json(body))
    assert message.startswith("The answer is not JSON: ")
    assert reason in message


def test_what_is_strictly_json_is_read():
    assert parse_json(b"[" * 65 + b"]" * 65)
    assert parse_json(b'["\\ud83d\\ude00", "\\\\ud800"]') == ["😀", "\\ud800"]
    assert parse_json(b'{"a": null, "b": true, "c": -0.0, "d": 1e308}') == {
        "a": None,
        "b": True,
        "c": Decimal("-0.0"),
        "d": Decimal("1e308"),
    }


def test_a_damaged_answer_is_not_quoted_since_it_may_hold_secrets():
    assert "S3-KEY" not in why(lambda: parse_json(b'{"secret_key": "S3-KEY"'))


def test_what_never_was_json_is_quoted_short_and_clean():
    message = why(lambda: parse_json(b"\x1b[31mNo\x00pe \xe2\x80\xae" + b"x" * 500))
    excerpt = message.split("(char 0): ")[1]
    assert excerpt.startswith("[31mNo pe xxx")
    assert len(excerpt) <= 200
    assert excerpt.isprintable()


# Lines as they come


def test_lines_come_while_the_answer_is_not_over():
    """More in all than a body may have, and the last one without an end."""
    body = b"".join(b"tenant-%d\t1\n" % number for number in range(2000)) + b"last\t\xc3\xa9"
    with a_raw_server(an_answer("200 OK", body)) as (url, _), a_client(url) as http:
        lines = list(http.lines("/"))
    assert len(body) > QUICK.size
    assert (lines[0], lines[-1], len(lines)) == ("tenant-0\t1", "last\té", 2001)


def test_what_came_before_an_answer_broke_off_came():
    whole = an_answer("200 OK", b"one\ntwo\nthree\n")
    seen = []
    with a_raw_server(whole[:-6]) as (url, _), a_client(url) as http:
        said = why(lambda: [seen.append(line) for line in http.lines("/")])
    assert seen == ["one", "two"]
    assert "broke off its answer" in said


def test_a_line_without_end_is_cut_at_the_size():
    with a_raw_server(an_answer("200 OK", b"x" * 50_000)) as (url, _), a_client(url) as http:
        assert "sent a line of more than" in why(lambda: list(http.lines("/")))


def test_lines_of_a_refusal_are_none(httpserver):
    httpserver.expect_request("/").respond_with_data("no", status=403)
    with a_client(httpserver.url_for("")) as http:
        assert "refuses the credentials (403)" in why(lambda: list(http.lines("/")))
