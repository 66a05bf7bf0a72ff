"""A small SMTP server on a real socket, that refuses and breaks off as a test tells it to."""

import email
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import default
from typing import Any

from django.test import override_settings


class Session(socketserver.StreamRequestHandler):
    server: "MailServer"

    def handle(self) -> None:
        self.server.connections += 1
        if self.server.breaks("greeting"):
            return
        self.say("220 mail.test")
        to = ""
        while line := self.rfile.readline().decode().strip():
            verb = line.split()[0].upper().partition(":")[0]
            if self.server.breaks(verb):
                return
            if verb == "RCPT":
                to = line.partition("<")[2].partition(">")[0]
            if answer := self.server.answers.get(to if verb == "RCPT" else verb):
                self.say(answer)
            elif verb == "DATA":
                self.say("354 go on")
                self.take(to)
                if self.server.breaks("taken"):
                    return
                self.say("250 taken")
            elif verb == "EHLO":
                self.say("250-mail.test\r\n250 AUTH PLAIN" if self.server.asks_who else "250 mail.test")
            elif verb == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")

    def take(self, to: str) -> None:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b"."))
        time.sleep(self.server.takes)
        self.server.mails.append((to, email.message_from_bytes(b"".join(lines), policy=default)))

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class MailServer(socketserver.ThreadingTCPServer):
    """What came is in `mails`. `answers` replaces what it says to a verb or an address, at the verbs in
    `breaks_at` it hangs up ("greeting" and "taken" stand for before and after), at those in `breaks_once` the first
    time, and a mail takes it some seconds."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Session)
        self.mails: list[tuple[str, EmailMessage]] = []
        self.answers: dict[str, str] = {}
        self.breaks_at: set[str] = set()
        self.breaks_once: set[str] = set()
        self.asks_who = False
        self.takes = 0.0
        self.connections = 0

    def breaks(self, point: str) -> bool:
        if once := point in self.breaks_once:
            self.breaks_once.discard(point)
        return once or point in self.breaks_at

    @property
    def receivers(self) -> list[str]:
        return [to for to, _ in self.mails]


@contextmanager
def mail_server(**settings: Any) -> Iterator[MailServer]:
    """Run a server for as long as the context lasts, and let the site send through it."""
    server = MailServer()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    own = {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_PORT": server.server_address[1],
        "EMAIL_TIMEOUT": 5,
        "EMAIL_USE_TLS": False,
        "EMAIL_USE_SSL": False,
        "EMAIL_HOST_USER": "",
        "EMAIL_HOST_PASSWORD": "",
        "DEFAULT_FROM_EMAIL": "billing@hoster.test",
        "SITE_ADDRESS": "https://billing.hoster.test",
    }
    try:
        with override_settings(**{**own, **settings}):
            yield server
    finally:
        server.shutdown()
        server.server_close()
