"""The worked tables of docs/pricing.md are executed, so that they cannot be wrong."""

import json
import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from catalog.aggregation import Aggregation, Periods, aggregate
from catalog.pricing import Bracket, Pricing, Scheme, added, rate
from catalog.quote import answer
from metering.periods import Period

GUIDE = (Path(__file__).resolve().parents[2] / "docs/pricing.md").read_text()
TABLES = re.findall(r"<!-- (\{.*?\}) -->\n\n((?:\|.*\n)+)", GUIDE)


def rows():
    for pricing, table in TABLES:
        for row in table.splitlines()[2:]:
            quantity, amount, steps = (cell.strip() for cell in row.strip("|").split("|"))
            yield pytest.param(json.loads(pricing), quantity, amount, steps, id=f"{pricing[12:22]}-{quantity}")


def in_words(step):
    if step["to"] is None:
        return f"{'' if step['amount'].startswith('-') else '+'}{step['amount']}"
    fee = f" + {step['flat_fee']}" if step["flat_fee"] != "0" else ""
    return f"{step['quantity']} × {step['unit_price']}{fee}"


def test_every_table_of_the_guide_is_found():
    assert len(TABLES) == GUIDE.count("<!-- {") == 9


@pytest.mark.parametrize(("pricing", "quantity", "amount", "steps"), list(rows()))
def test_a_row_of_the_guide_is_what_the_engine_says(pricing, quantity, amount, steps):
    said = json.loads(answer(json.dumps({**pricing, "quantity": quantity})))
    assert said.get("amount") == amount, said
    assert ", ".join(in_words(step) for step in said["steps"]) == steps


def cells(start):
    """The rows of the table whose first row begins with these words, its head left out."""
    table = GUIDE[GUIDE.index(f"| {start} |") :].split("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines() if "---" not in row]


def test_the_quantities_of_a_term_are_what_the_arithmetic_says():
    (_, *days), (_, *values) = cells("day")
    levels = [(date(2026, 11, int(day)), Decimal(value)) for day, value in zip(days, values, strict=True)]
    november = Period(date(2026, 11, 1), date(2026, 12, 1))
    rows = cells("what")[1:]
    assert [row[0] for row in rows] == list(Aggregation)
    for how, quantity, _ in rows:
        assert aggregate(Aggregation(how), levels, november, 30) == Decimal(quantity), how


def test_periods_summed_or_each_cost_what_the_guide_says():
    one = Pricing(Scheme.PER_UNIT, (Bracket(Decimal(0), Decimal(1)),), Decimal(10))
    rows = cells("periods")[1:]
    assert [row[0] for row in rows] == list(Periods)
    for periods, months, total in rows:
        used = [Decimal(month) for month in months.split(", ")]
        rated = used if periods == Periods.EACH else [sum(used)]
        assert added([rate(one, quantity) for quantity in rated]).amount == Decimal(total)
