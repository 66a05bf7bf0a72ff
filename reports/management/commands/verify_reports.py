"""Add up all documents again and compare with the sums of the reports."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from reports import counting


class Command(BaseCommand):
    help = "Compares the sums of the reports with all documents. Exits with 1 and a list of what differs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--again", action="store_true", help="forget the sums and count all documents first")

    def handle(self, *, again: bool, **_: Any) -> None:
        if again:
            counting.forget()
            self.stdout.write(f"{counting.count_documents(at=timezone.now())} documents counted again.")
            counting.spread_prices()
        found = list(counting.differences())
        for sentence in found:
            self.stdout.write(sentence)
        if found:
            raise CommandError(f"{len(found)} sums differ. --again counts from the first document on.", returncode=1)
        self.stdout.write("The sums are what the documents come to.")
