"""What holds for all tests. The settings are in tests/settings.py."""

from pathlib import Path

from django.db.backends.postgresql.operations import DatabaseOperations
from hypothesis import settings

# How long an example takes says something about the machine, not about the code.
settings.register_profile("tallyport", deadline=None)
settings.load_profile("tallyport")


# Issued documents cannot be truncated. What a test committed is, by the superuser that the tests run as; and
# usage invoicing is switched on again, as the migrations leave it.
_flush = DatabaseOperations.execute_sql_flush


def _flush_all(self, sql_list):
    on_again = "INSERT INTO invoicing_invoicingspan (start) VALUES ('2000-01-01')"
    _flush(self, ["SET session_replication_role = replica", *sql_list, on_again, "RESET session_replication_role"])


DatabaseOperations.execute_sql_flush = _flush_all


#: What takes longest begins first, so that in the end no process is left alone with it.
LONG = (
    "browser/test_every_page.py",
    "invoicing/test_conservation.py",
    "invoicing/test_conservation_continued.py",
    "catalog/test_pricing_laws.py",
    "access/test_matrix.py",
    "metering/test_fault_run.py",
    "metering/test_secrets.py",
    "access/test_odd_forms.py",
    "billing_site/test_run.py",
    "billing_site/test_demo.py",
    "billing_site/test_migrate.py",
    "invoicing/test_kill.py",
)
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    first = {HERE / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: first.get(item.path, len(LONG)))
