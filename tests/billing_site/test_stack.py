"""Deep calls ask the system for memory once, not again with each of them."""

import resource
from collections.abc import Callable

from billing_site.stack import with_room

CALLS = 200


def _leaf() -> None:
    pass


def _faults_of_calls() -> int:
    """How often the system was asked for a page of memory by many calls from here."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(CALLS):
        _leaf()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def _at_depth(depth: int, call: Callable[[], int]) -> int:
    return call() if depth == 0 else _at_depth(depth - 1, call)


def _most_faults() -> int:
    return max(_at_depth(depth, _faults_of_calls) for depth in range(400))


def test_no_depth_of_calls_asks_the_system_for_memory_each_time() -> None:
    with_room(_most_faults)()  # what is touched for the first time is asked for
    assert with_room(_most_faults)() < CALLS / 4


def test_the_call_gets_what_it_is_given_and_its_answer_comes_back() -> None:
    assert with_room(divmod)(17, 5) == (3, 2)
    assert with_room(dict)(one=1) == {"one": 1}
