"""Everything that was issued, computed again from what is stored: an empty list, or what is wrong and where.

It reads one snapshot of the database, so that billing may go on beside it, and holds a batch at a time.
"""

from collections.abc import Iterator

from django.db import connection, transaction

from invoicing.verification import charges, documents, receivables, references, usage
from invoicing.verification.documents import Progress
from invoicing.verification.findings import Finding


def verify(*, progress: Progress = lambda done, of: None) -> Iterator[Finding]:
    """Check all documents, and that what was used is on exactly one of them. Yields what is wrong."""
    is_inside = connection.in_atomic_block
    with transaction.atomic():
        if not is_inside:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL datestyle = ISO")  # as the chain writes days
        yield from documents.issued(progress)
        yield from documents.series()
        yield from documents.taxes_given_back()
        yield from references.statements()
        yield from references.lost()
        yield from receivables.given_back()
        yield from receivables.left_to_pay()
        yield from usage.billed_twice()
        yield from usage.claims()
        yield from usage.missing()
        yield from usage.different()
        yield from charges.overages()
