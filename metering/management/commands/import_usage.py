"""Import usage from a file, as it would be pushed."""

import sys
from hashlib import file_digest
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from metering import formats, pushing
from metering.formats import Format, Unreadable
from metering.models import Server
from metering.providers import base
from metering.providers.base import ProviderError
from metering.pushing import File
from metering.server_lock import Busy

#: A file is read line by line, so that this only keeps one from running for ever.
MAX_LINES = 100_000_000
#: So many refused lines are named.
SHOWN = 50


class Command(BaseCommand):
    help = "Imports usage from a file. Exits with 1 when lines were refused, with 2 when nothing could be read."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path)
        parser.add_argument("--server", metavar="NAME", required=True, help="the server whose usage it is")
        parser.add_argument("--format", choices=list(Format), help="if neither its name nor its beginning says it")
        parser.add_argument("--dry-run", action="store_true", help="only say what it would do")

    def handle(self, *, file: Path, server: str, format: str | None, dry_run: bool, **_: Any) -> None:
        target = self.chosen(server)
        try:
            with file.open("rb") as source:
                digest = file_digest(source, "sha256").hexdigest()
                size = source.tell()
                source.seek(0)
                form = Format(format) if format else formats.guess(file.name, source.read(1000))
                source.seek(0)
                if earlier := pushing.imported_before(target, digest):
                    said = f"This very file was imported before, on {earlier.as_of:%Y-%m-%d %H:%M} UTC."
                    self.stderr.write(f"{said} Lines with an id count once; what it sets is set again.")
                outcome = pushing.push(
                    server=target,
                    lines=formats.read(source, form, MAX_LINES),
                    at=timezone.now(),
                    size=size,
                    file=File(file.name, digest),
                    is_dry=dry_run,
                )
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.", returncode=2) from None
        except (Unreadable, ProviderError) as error:
            raise CommandError(f"{file}: {error} Nothing was stored.", returncode=2) from None
        except Busy as error:
            raise CommandError(str(error), returncode=1) from None
        self.say(outcome, dry_run)

    def chosen(self, name: str) -> Server:
        servers = [one for one in Server.objects.all() if not base.asks(one.provider)]
        for one in servers:
            if one.name == name:
                return one
        known = ", ".join(map(str, servers)) or "none"
        said = f"There is no server called {name} that usage is pushed to. There are: {known}."
        raise CommandError(said, returncode=2)

    def say(self, outcome: pushing.Outcome, is_dry: bool) -> None:
        for result in outcome.results[:SHOWN]:
            self.stderr.write(f"line {result.line}: {result.error}")
        if outcome.refused > SHOWN:
            self.stderr.write(f"… and {outcome.refused - min(SHOWN, len(outcome.results)):,} more lines")
        for total in outcome.totals.values():
            if total.lines:
                self.stdout.write(
                    f"{total.metric}: {total.lines:,} lines; periods {total.new:,} new, {total.changed:,} changed,"
                    f" {total.same:,} the same"
                )
        done = "would be stored" if is_dry else "stored"
        self.stdout.write(
            f"{outcome.lines:,} lines: {outcome.stored:,} {done}, {outcome.duplicates:,} known already,"
            f" {outcome.refused:,} refused"
        )
        if outcome.refused:
            sys.exit(1)
