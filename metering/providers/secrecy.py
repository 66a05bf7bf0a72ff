"""What may be written down: texts without credentials, and errors without their texts."""

import html
import re
import traceback
from collections.abc import Iterable

BLOT = "•••"


def blotted(text: str, secrets: Iterable[str]) -> str:
    """Return a text without these secrets, however they are spelled in it."""
    pattern = _pattern(secrets)
    return pattern.sub(BLOT, text) if pattern else text


def holds(text: str, secrets: Iterable[str]) -> bool:
    """Whether one of these secrets is in a text, however it is spelled."""
    pattern = _pattern(secrets)
    return bool(pattern and pattern.search(text))


def traced(error: BaseException) -> str:
    """Say of what kind an error is and where it was raised, innermost first: `KeyError at acme.py:30, acme.py:12`.

    Its text is left out, and so is the source: whatever is no ProviderError may hold a credential.
    """
    frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    places = ", ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-4:]))
    return f"{type(error).__name__} at {places}"


def _pattern(secrets: Iterable[str]) -> re.Pattern[str] | None:
    known = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
    return re.compile("|".join("".join(map(_letter, secret)) for secret in known)) if known else None


def _letter(letter: str) -> str:
    """Return a pattern of a letter as it may be spelled in a text, an address, a form, a page, or JSON."""
    code = ord(letter)
    octets = "".join(f"%{octet:02x}" for octet in letter.encode(errors="surrogatepass"))
    units = letter.encode("utf-16-be", errors="surrogatepass").hex()
    escapes = "".join(rf"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
    ways = [re.escape(letter), f"(?i:{octets})", f"(?i:{escapes})", f"&#0*{code};", f"(?i:&#x0*{code:x};)"]
    if (entity := html.escape(letter)) != letter:
        ways.append(entity)
    if letter in "\"\\/'":
        ways.append(rf"\\{re.escape(letter)}")
    if letter == "'":
        ways.append("&apos;")
    if letter == " ":
        ways.append(r"\+")
    # What is longer comes first: a backslash is also the beginning of two.
    return f"(?:{'|'.join(sorted(ways, key=len, reverse=True))})"
