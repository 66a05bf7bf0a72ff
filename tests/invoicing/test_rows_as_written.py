"""The text by which rows are copied into the database is the text that the chain is made of: both say the same."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from django.db import connection

from invoicing import chain, issuing, verification
from invoicing.billing import create_invoices
from invoicing.models import Invoice, Line
from tests.builders import a_client, a_product, a_server, a_service, a_tenant, at, panel, says

#: Texts that mean something to COPY or to JSON.
AWKWARD = ["a\tb", "a\nb", "a\r\nb", "back\\slash", r"\N", r"\.", '"quoted" {}', "Ünïcode \u2028 €", " spaced ", ""]


@pytest.mark.django_db
def test_whatever_a_client_is_called_the_invoice_says_it_and_the_chain_holds():
    product, server = a_product(), a_server()
    for number, name in enumerate(AWKWARD):
        client = a_client(name)
        client.address = f"{name}\n1 Main Street\t\\"
        client.save()
        a_service(product, client, a_tenant(server, f"tenant-{number}"), name=name)
    with panel(says()):
        create_invoices(on=date(2026, 11, 1), at=at("2026-11-01 07:00"))
    assert sorted(invoice.buyer["name"] for invoice in Invoice.objects.all()) == sorted(AWKWARD)
    assert all(invoice.buyer["address"] == invoice.client.address for invoice in Invoice.objects.all())
    assert {line.detail.partition(", 1 November")[0] for line in Line.objects.all()} == set(AWKWARD)
    assert not list(verification.verify())


@pytest.mark.django_db
@pytest.mark.parametrize("text", AWKWARD)
def test_a_row_is_read_back_as_it_was_written(text):
    values = [
        text,
        {"a": [text, 1, None]},
        Decimal("1.500"),
        date(2026, 1, 2),
        datetime(2026, 1, 2, 3, tzinfo=UTC),
        None,
    ]
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE row (a text, b jsonb, c numeric(9, 4), d date, e timestamptz, f uuid)")
        with cursor.copy("COPY row FROM STDIN") as copy:
            copy.write(chain.row(values) + "\n")
        cursor.execute("SELECT a, b, c, d, e, f FROM row")
        [read] = cursor.fetchall()
    assert [read[0], json.loads(read[1]), *read[2:]] == values


def test_what_is_written_once_is_written_as_each_time():
    value = {"b": "1", "a": {"d": [1, "x\ty"], "c": None}}
    assert chain.row([chain.written(value)]) == chain.row([value])
    assert chain.row([value]) == r'{"a":{"c":null,"d":[1,"x\\ty"]},"b":"1"}'


@pytest.mark.parametrize("text", [*AWKWARD, "a\bb\fc\vd", "\x85\x1c"])
def test_a_text_is_read_from_its_row(text):
    assert chain.unescaped(chain.row([text])) == text


@pytest.mark.django_db
@pytest.mark.parametrize("text", [*AWKWARD, "a\bb\fc\vd", "\x85\x1c"])
def test_the_database_writes_a_row_as_it_was_written(text):
    """So that verifying reads the text that was chained, and need not make it again."""
    written = chain.row([text, chain.written({"b": text, "a": None}), Decimal("1.500"), date(2026, 1, 2), None])
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE row (a text, b text, c numeric(9, 4), d date, e uuid)")
        with cursor.copy("COPY row FROM STDIN") as copy:
            copy.write(written + "\n")
        with cursor.copy("COPY (SELECT a, b, trim_scale(c), d, e FROM row) TO STDOUT") as copy:
            assert b"".join(map(bytes, copy)).decode() == written + "\n"


def test_no_two_rows_have_the_same_text():
    """A tab inside a value is not one between two."""
    assert chain.row(["a\tb"]) != chain.row(["a", "b"])
    assert chain.row([r"\N"]) != chain.row([None])
    assert chain.link("", "a\nb", []) == chain.link("", "a", ["b"])  # so a row never has a line break in it
    assert "\n" not in chain.row(["a\nb", {"a": "\n"}])


def test_ids_are_uuids_of_version_7_random_but_for_their_instant():
    when = at("2026-11-01 07:00")
    made = [UUID(each) for each in issuing._new_ids(1000, when)]
    assert {(each.version, each.variant) for each in made} == {(7, uuid4().variant)}
    assert {each.int >> 80 for each in made} == {int(when.timestamp() * 1000)}
    assert len({each.int % 2**62 for each in made}) == 1000
