"""Record payments from a file, such as a bank's export."""

import csv
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from catalog.money import write
from invoicing import payments
from invoicing.models import Invoice
from invoicing.payments import CannotPay

COLUMNS = ["number", "amount", "date", "reference"]
_AMOUNT = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,4})?", re.ASCII)


class Refused(Exception):
    """A row that is not written down, with the reason."""


class Command(BaseCommand):
    help = (
        "Records payments from a CSV file with the columns number, amount, date and reference, all of it or nothing. "
        "The reference tells a payment from all others: one that was recorded before counts once. "
        "Exits with 1 when a row cannot be recorded; then none is."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="with a line of the names of its columns, in UTF-8")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be recorded")
        parser.add_argument("--method", default="bank transfer", help="how they were paid (%(default)s)")
        parser.add_argument("--overpay", action="store_true", help="also take in more than what is left")

    def handle(self, *, file: str, dry_run: bool, method: str, overpay: bool, **_: Any) -> None:
        try:
            with open(file, encoding="utf-8-sig", newline="") as rows, transaction.atomic():
                counts = self._record(rows, method, overpay)
                transaction.set_rollback(dry_run)
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.", returncode=2) from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise CommandError(f"{file} is not a CSV file in UTF-8.", returncode=2) from error
        said = "would be recorded" if dry_run else "recorded"
        self.stdout.write(f"{counts[0]} payments {said}, {counts[1]} were recorded before.")

    def _record(self, rows: TextIO, method: str, overpay: bool) -> tuple[int, int]:
        new, refused, known, now = 0, 0, 0, timezone.now()
        for line, row in _rows(rows):
            try:
                invoice, amount, day, key = _read(row)
                before = invoice.payments.filter(key=key).exists()
                payments.record(
                    invoice=invoice,
                    amount=amount,
                    received_on=day,
                    method=method,
                    reference=row["reference"],
                    by=None,
                    at=now,
                    key=key,
                    overpay=overpay,
                )
            except (Refused, CannotPay) as error:
                refused += 1
                self.stderr.write(f"line {line}: {error}")
            else:
                known += before
                new += not before
                if not before:
                    self.stdout.write(f"{invoice.number}: {write(amount, invoice.currency)}, {row['reference']}")
        if refused:
            raise CommandError(f"{refused} rows cannot be recorded, so none is.", returncode=1)
        return new, known


def _rows(rows: TextIO) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(rows)
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
        raise CommandError(f"The first line names no column {', '.join(missing)}.", returncode=2)
    for row in reader:
        yield reader.line_num, {name: (row[name] or "").strip() for name in COLUMNS}


def _read(row: dict[str, str]) -> tuple[Invoice, Decimal, date, str]:
    invoice = Invoice.objects.filter(number=row["number"]).first()
    if invoice is None:
        raise Refused(f"there is no invoice {row['number'][:50]!r}")
    if not _AMOUNT.fullmatch(row["amount"]):
        raise Refused(f"{row['amount'][:50]!r} is not an amount such as 75.93")
    try:
        day = date.fromisoformat(row["date"])
    except ValueError:
        raise Refused(f"{row['date'][:50]!r} is not a date such as 2026-11-19") from None
    if not row["reference"] or len(row["reference"]) > 90:
        raise Refused("it has no reference of at most 90 letters, by which it would be known again")
    return invoice, Decimal(row["amount"]), day, "file:" + "_".join(row["reference"].split())
