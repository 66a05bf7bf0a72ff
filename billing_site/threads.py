"""The language of a thread, where asking for it takes little.

Django keeps it where async code would carry it along (`asgiref.local.Local`): asking takes four calls in Python, and
the page of a service asks 250 times, which was a tenth of what it took. This site is served by threads alone.
"""

import threading

from django.utils.translation import trans_real


def keep_language() -> None:
    """Let each thread keep its language by itself."""
    trans_real._active = threading.local()  # type: ignore[attr-defined]
