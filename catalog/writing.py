"""Writing for somebody in particular: a document in its client's language, whoever makes it."""

from types import TracebackType

from django.conf import settings
from django.utils.translation import activate, deactivate_all, get_language


class Writing:
    """Write in a language for a while: `with Writing(client.language):`. Empty is the site's.

    Unlike Django's `override` it does nothing where that language is active already: a billing run writes to
    thousands of clients a second, of which most read the same.
    """

    __slots__ = ("before", "language")

    def __init__(self, language: str) -> None:
        self.language = language or settings.LANGUAGE_CODE
        self.before = self.language

    def __enter__(self) -> None:
        self.before = get_language() or ""
        if self.before != self.language:
            activate(self.language)

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self.before == self.language:
            return
        if self.before:
            activate(self.before)
        else:
            deactivate_all()
