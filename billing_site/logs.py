"""How log lines are written: each on one line, whatever a name or a server's answer has in it."""

import logging
import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class OneLine(logging.Formatter):
    """Writes what would end a line or colour a terminal as `\\n`, `\\x1b` and so on. Tracebacks stay below."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return _CONTROL.sub(lambda found: repr(found[0])[1:-1], super().formatMessage(record))
