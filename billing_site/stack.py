"""Room for Python's stack of calls.

CPython keeps the frames of calls in pieces of 16 KiB. A call that does not fit in the last one gets a new piece from
the system, and gives it back when it returns: whatever calls in a loop just there asks the system each time
(python/cpython#142183; 3.13 and 3.14 keep one piece since March 2026). A page's template did so 830 times, which was a
fifth of what it took.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

#: A frame that says it needs so many places, of 8 bytes, gets a piece of 512 KiB and leaves half of it, which is more
#: than the deepest calls take. What is never touched takes no memory.
PLACES = 33_000

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def with_room(call: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """Return the same call, made where all that it calls in turn lies in one piece."""

    def roomy(*args: Given.args, **kwargs: Given.kwargs) -> Answer:
        return call(*args, **kwargs)

    roomy.__code__ = roomy.__code__.replace(co_stacksize=PLACES)
    return roomy
