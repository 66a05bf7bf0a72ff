"""Whether this process, or the worker that it belongs to, was asked to stop.

A deployment stops the worker by SIGTERM. django-q2 then waits for its processes to finish what they do,
which for a billing run may be long; so jobs look here between two batches or mails, and leave the rest to
the next run. The flag is one byte of memory that processes share with those that they fork.
"""

import mmap
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_flag = mmap.mmap(-1, 1)


def ask() -> None:
    _flag[0] = 1


def asked() -> bool:
    return _flag[0] == 1


@contextmanager
def on_sigterm() -> Iterator[None]:
    """Let SIGTERM ask to stop instead of ending the process, while something is being done."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return
    before = signal.signal(signal.SIGTERM, lambda *_: ask())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
