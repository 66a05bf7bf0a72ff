"""The charge and the price of one as curves."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Curve:
    """Curves."""
