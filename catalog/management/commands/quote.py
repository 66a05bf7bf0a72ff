"""Rate quantities for scripts: one JSON pricing and quantity per line in, one JSON charge per line out."""

import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand

from catalog.quote import MAX_LENGTH, answer


class Command(BaseCommand):
    help = "Reads JSON lines from stdin and answers each with its charge, or with an error. Always exits with 0."
    requires_system_checks: list[str] = []  # noqa: RUF012 (as Django declares it)

    def handle(self, **_: Any) -> None:
        for line in _lines(sys.stdin.buffer):
            self.stdout.write(answer(line))
            self.stdout.flush()


def _lines(source: BinaryIO) -> Iterator[str]:
    """Yield each line; of one that is too long only so much that it is seen to be too long."""
    while chunk := source.readline(4 * MAX_LENGTH):
        line = chunk
        while not chunk.endswith(b"\n") and (chunk := source.readline(4 * MAX_LENGTH)):
            pass
        yield line.rstrip(b"\r\n").decode("utf-8", errors="replace")
