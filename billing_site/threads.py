"""What belongs to a thread, and what is said in its language, where asking takes little.

Django keeps the language, the time zone, where addresses begin and the connections to the database so that async code
would carry them along (`asgiref.local.Local`): asking takes four calls in Python, and the page of a service asks 250
times, which was a tenth of what it took. This site is served by threads alone. Django looks each text up in six calls;
here what was looked up once is remembered in each language.
"""

import threading
from collections import defaultdict
from typing import Any

from django.db import connections
from django.urls import base
from django.utils import timezone, translation
from django.utils.translation import trans_real

#: So many texts of a language are remembered: those of the code, and what staff gave names like them.
MOST = 10_000


def keep_apart() -> None:
    """Let each thread keep its language, its time zone, its connections and where addresses begin by itself."""
    begins = base.get_script_prefix()
    trans_real._active = threading.local()  # type: ignore[attr-defined]
    timezone._active = threading.local()  # type: ignore[attr-defined]
    base._urlconfs, base._prefixes = threading.local(), threading.local()  # type: ignore[attr-defined]
    base.set_script_prefix(begins)
    # Connections to the database are of a thread anyway; those that there are stay its own.
    known = connections.all(initialized_only=True)
    connections._connections = threading.local()  # type: ignore[attr-defined]
    for each in known:
        connections[each.alias] = each


def remember_texts() -> None:
    """Let each text be looked up once in each language."""
    look_up = trans_real.gettext
    known: defaultdict[Any, dict[str, str]] = defaultdict(dict)

    def gettext(message: str) -> str:
        language = getattr(trans_real._active, "value", None)  # type: ignore[attr-defined]
        texts = known[language]
        if (said := texts.get(message)) is not None and type(message) is str:
            return said
        said = look_up(message)
        # What is safe in a template stays so, and without a language it is that of the settings, which a test changes.
        if type(message) is str and language is not None and len(texts) < MOST:
            texts[message] = said
        return said

    trans_real.gettext = gettext
    vars(translation._trans).pop("gettext", None)  # type: ignore[attr-defined]  # where it is kept once it was asked
