"""How long the PDF of a document takes, and how much memory: for a dozen lines, some hundreds and some thousands.

Every third line is a fee, the others are usage in two brackets with their steps. LINES=12,300,3000 are the sizes. A
document is made three times after the first, which reads the fonts: seconds of the clock, and of the processors. The
memory is the most that the process had until then.
Nothing is left in the database.
"""

import os
import resource
import statistics
import sys
import time
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("VAR_DIR", str(ROOT / "var" / "bench"))
os.environ.setdefault("DEBUG", "1")
os.environ["DJANGO_SETTINGS_MODULE"] = "billing_site.settings"
os.environ["LOG_LEVEL"] = "WARNING"

import django  # noqa: E402

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import reset_queries, transaction  # noqa: E402

from catalog.pricing import Bracket, Notation, Pricing, Scheme  # noqa: E402
from invoicing import pdf  # noqa: E402
from invoicing.models import Invoice  # noqa: E402
from tests.builders import TRAFFIC, a_client, a_product, a_server, a_service, a_setting, a_tenant  # noqa: E402
from tests.invoicing.documents import fee, issued, usage  # noqa: E402

LINES = [int(each) for each in os.environ.get("LINES", "12,300,3000").split(",")]
ROUNDS = 3
TIERS = Pricing(
    Scheme.GRADUATED,
    (Bracket(Decimal(0), Decimal(2)), Bracket(Decimal(20), Decimal("0.5"))),
    included=Decimal(10),
    notation=Notation.ABOVE,
)


def main() -> None:
    call_command("migrate", verbosity=0)
    print(f"{'lines':>8}{'seconds':>10}{'processor':>12}{'size':>12}{'memory':>12}")
    for lines in sorted(LINES):
        with transaction.atomic():
            invoice = _document(lines)
            pdf.of_invoice(invoice)
            took, used = zip(*(_seconds(invoice) for _ in range(ROUNDS)), strict=True)
            size, memory = len(pdf.of_invoice(invoice)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            seconds = f"{statistics.median(took):>10.3f}{statistics.median(used):>12.3f}"
            print(f"{lines:>8}{seconds}{size / 1000:>9.0f} kB{memory / 1000:>9.0f} MB")
            transaction.set_rollback(True)


def _document(lines: int) -> Invoice:
    service = a_service(a_product(), a_client("Benched"), a_tenant(a_server("benched"), "benched.example"))
    setting = a_setting(service.product, TRAFFIC)
    written = [
        usage(service, setting, ("2026-10-01", f"{25 + each}.5"), pricing=TIERS, part=each)
        if each % 3
        else fee(service)
        for each in range(lines)
    ]
    return issued(service.client, *written)


def _seconds(invoice: Invoice) -> tuple[float, float]:
    reset_queries()
    begin, before = time.perf_counter(), time.process_time()
    pdf.of_invoice(invoice)
    return time.perf_counter() - begin, time.process_time() - before


if __name__ == "__main__":
    main()
