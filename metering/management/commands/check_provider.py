"""Ask real servers of a provider, and say what is wrong. Nothing is stored."""

import time
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from metering.models import Server
from metering.providers import base
from metering.providers.base import Cost, Provider, ProviderError
from metering.providers.inspection import inspect

SECONDS = 60


class Command(BaseCommand):
    help = (
        "Asks servers and says what is wrong, storing nothing. Exits with 1 if something is, with 2 for a wrong call."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("provider", metavar="NAME", help="the provider, as its entry point is called")
        parser.add_argument("--server", metavar="NAME", help="only this server of it")
        parser.add_argument(
            "--seconds", type=int, default=SECONDS, help=f"stop asking a server after this time (default: {SECONDS})"
        )

    def handle(self, *, provider: str, server: str | None, seconds: int, **_: Any) -> None:
        try:
            kind = base.provider(provider)
        except ProviderError as error:
            raise CommandError(str(error), returncode=2) from None
        self.stdout.write(f"{provider}: {kind.title}, {kind.__module__}.{kind.__qualname__}")
        servers = self.chosen(provider, server)
        if not servers:
            self.stdout.write("There is no server of this provider yet. Add one, then check it.")
        wrong = sum(self.ask(kind, each, seconds) for each in servers)
        if wrong:
            raise CommandError(f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong.", returncode=1)

    def chosen(self, provider: str, name: str | None) -> list[Server]:
        # Credentials that cannot be read must not hide the other servers.
        servers = Server.objects.filter(provider=provider).defer("credentials")
        if name is None:
            return list(servers)
        if found := list(servers.filter(name=name)):
            return found
        known = ", ".join(servers.values_list("name", flat=True)) or "none"
        raise CommandError(f"{provider} has no server called {name}. There are: {known}.", returncode=2)

    def ask(self, kind: type[Provider], server: Server, seconds: int) -> int:
        """Write down what is found, and return how much of it is wrong."""
        self.stdout.write(f"\n{server}")
        try:
            connection = server.connection(timezone.now(), Cost(ends=time.monotonic() + seconds))
        except ImproperlyConfigured as error:
            self.stdout.write(f"  wrong  settings     {error}")
            return 1
        wrong = 0
        for finding in inspect(kind, connection):
            wrong += finding.is_wrong
            self.stdout.write(f"  {'wrong' if finding.is_wrong else 'ok':6} {finding.topic:12} {finding.text}")
        return wrong
