"""Finds the texts of templates that are to be translated, for Babel: see babel.cfg and `make messages`.

Django's own way turns a template into something like Python; Babel reads that. So no other program is needed.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import IO, Any

from babel.messages.extract import extract_python
from django.utils.translation.template import templatize


def templates(file: IO[bytes], keywords: Any, comment_tags: Any, options: Any) -> Iterator[Any]:
    """Yield the line, function, texts and comments of each text that a template has translated."""
    # What is no tag was blotted out, and its indentation means nothing.
    lines = [line.lstrip() for line in templatize(file.read().decode()).splitlines()]
    yield from extract_python(BytesIO("\n".join(lines).encode()), keywords, comment_tags, options)
