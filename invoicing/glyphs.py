"""Which characters a font can draw: a PDF that is to be kept must not ask for any other."""

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path


class Glyphs:
    """The characters that some fonts can draw together."""

    def __init__(self, fonts: Iterable[Path]) -> None:
        merged: list[list[int]] = []
        for first, last in sorted(chain.from_iterable(ranges(font.read_bytes()) for font in fonts)):
            if merged and first <= merged[-1][1] + 1:
                merged[-1][1] = max(merged[-1][1], last)
            else:
                merged.append([first, last])
        self._firsts = [first for first, _ in merged]
        self._lasts = [last for _, last in merged]

    def __contains__(self, character: str) -> bool:
        code = ord(character)
        found = bisect_right(self._firsts, code) - 1
        return found >= 0 and code <= self._lasts[found]


def ranges(font: bytes) -> Iterator[tuple[int, int]]:
    """Yield the characters of a font as first and last, by its `cmap` tables of formats 4 and 12 (ISO/IEC 14496-22).

    A collection of fonts says what its first one can draw. Raises ValueError for what is no font.
    """
    try:
        start = _number(font, 12, 4) if font[:4] == b"ttcf" else 0
        records = (start + 12 + 16 * number for number in range(_number(font, start + 4, 2)))
        cmap = next(_number(font, record + 8, 4) for record in records if font[record : record + 4] == b"cmap")
        tables = {cmap + _number(font, cmap + 8 + 8 * number, 4) for number in range(_number(font, cmap + 2, 2))}
        for table in sorted(tables):
            read = {4: _in_segments, 12: _in_groups}.get(_number(font, table, 2))
            yield from read(font, table) if read else ()
    except (struct.error, StopIteration) as error:
        raise ValueError("is no OpenType or TrueType font") from error


def _in_segments(font: bytes, table: int) -> Iterator[tuple[int, int]]:
    count = _number(font, table + 6, 2) // 2
    lasts, firsts = table + 14, table + 16 + 2 * count
    for segment in range(count):
        first, last = _number(font, firsts + 2 * segment, 2), _number(font, lasts + 2 * segment, 2)
        offset = _number(font, firsts + 4 * count + 2 * segment, 2)
        delta = _number(font, firsts + 2 * count + 2 * segment, 2)
        at = firsts + 4 * count + 2 * segment + offset
        for code in range(first, min(last, 0xFFFE) + 1):
            glyph = _number(font, at + 2 * (code - first), 2) if offset else (code + delta) % 0x10000
            if glyph:
                yield code, code


def _in_groups(font: bytes, table: int) -> Iterator[tuple[int, int]]:
    for group in range(_number(font, table + 12, 4)):
        first, last, glyph = struct.unpack_from(">III", font, table + 16 + 12 * group)
        yield first if glyph else first + 1, last


def _number(font: bytes, at: int, size: int) -> int:
    return int.from_bytes(struct.unpack_from(f"{size}s", font, at)[0])
