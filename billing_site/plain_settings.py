"""Settings that are read as any attribute is."""

from django.conf import LazySettings


def read_plainly() -> None:
    """Let what was read of the settings be found without a call in Python.

    Django makes two for each, of which a page of this site makes some 75: a proxy hides those of its methods that stand
    for another's, so that it is asked for them. That is for what is not read yet, which is asked for as before.
    """
    LazySettings.__getattribute__ = object.__getattribute__  # type: ignore[method-assign]
