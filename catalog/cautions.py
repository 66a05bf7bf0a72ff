"""What in a pricing may surprise: it can be saved as it is, but somebody should have seen it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caution:
    """A surprise: its title, the numbers that show it, and what to do about it."""

    title: str
    lines: tuple[str, ...]
    note: str
