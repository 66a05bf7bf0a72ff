"""The worked tables of docs/pricing.md are executed, so that they cannot be wrong."""

import json
import re
from pathlib import Path

import pytest

from catalog.quote import answer

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
    assert len(TABLES) == GUIDE.count("<!-- {") == 8


@pytest.mark.parametrize(("pricing", "quantity", "amount", "steps"), list(rows()))
def test_a_row_of_the_guide_is_what_the_engine_says(pricing, quantity, amount, steps):
    said = json.loads(answer(json.dumps({**pricing, "quantity": quantity})))
    assert said.get("amount") == amount, said
    assert ", ".join(in_words(step) for step in said["steps"]) == steps
