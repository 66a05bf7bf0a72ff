"""The language of a thread, and what is said in it, where asking takes little.

Django keeps the language where async code would carry it along (`asgiref.local.Local`): asking takes four calls in
Python, and the page of a service asks 250 times, which was a tenth of what it took. This site is served by threads
alone. It looks each text up in six calls; here what was looked up once is remembered in each language.
"""

import threading
from collections import defaultdict
from typing import Any

from django.utils import translation
from django.utils.translation import trans_real

#: So many texts of a language are remembered: those of the code, and what staff gave names like them.
MOST = 10_000


def keep_language() -> None:
    """Let each thread keep its language by itself."""
    trans_real._active = threading.local()  # type: ignore[attr-defined]


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
