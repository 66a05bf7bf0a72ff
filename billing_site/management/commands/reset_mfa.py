"""For who lost the phone and the recovery codes."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing_site import account_mail, second_factor
from catalog.models import User


class Command(BaseCommand):
    help = (
        "Removes all second steps of signing in of a user (app, passkeys, recovery codes), ends their sessions and "
        "mails them that it was done. Make sure that it is they who ask."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="the address they sign in with")

    def handle(self, *, email: str, **_: Any) -> None:
        user = User.objects.filter(email=email.lower()).first()
        if user is None:
            raise CommandError(f"Nobody has the address {email}. `manage.py createsuperuser` makes the first user.")
        removed = second_factor.reset(user)
        account_mail.tell(user, "second_factors_reset")
        self.stdout.write(f"{removed} removed from {user.email}, and their sessions ended.")
