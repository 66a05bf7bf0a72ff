"""`quote`: every line is answered, and the known cases are answered right."""

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.pricing import Scheme, rate
from catalog.quote import MAX_LENGTH, answer, step_json, step_text
from tests.catalog.pricings import FEWER, pricings, quantities

ROOT = Path(__file__).resolve().parents[2]
CASES = json.loads((ROOT / "tests/conformance/pricing.json").read_text())
EXAMPLE = {
    "brackets": [
        {"start": "0", "unit_price": "2"},
        {"start": "10", "unit_price": "1"},
        {"start": "20", "unit_price": "0.50"},
    ],
    "currency": "USD",
}


def quote(*lines):
    """Run the command as a script would, and return its answers."""
    text = b"".join(line.encode() + b"\n" if isinstance(line, str) else line + b"\n" for line in lines)
    done = subprocess.run(
        [sys.executable, "manage.py", "quote"], input=text, capture_output=True, cwd=ROOT, check=True, timeout=60
    )
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


def test_it_answers_the_documented_example():
    asked = [
        json.dumps({**EXAMPLE, "scheme": scheme, "quantity": quantity})
        for scheme in ("volume", "graduated")
        for quantity in ("8", "25")
    ]
    answers = quote(*asked)
    assert [one["amount"] for one in answers] == ["16", "12.5", "16", "31"]
    assert [one["rounded"] for one in answers] == ["16.00", "12.50", "16.00", "31.00"]
    assert answers[3]["steps"] == [
        {"from": "1", "to": "9", "quantity": "9", "unit_price": "2", "flat_fee": "0", "amount": "18"},
        {"from": "10", "to": "19", "quantity": "10", "unit_price": "1", "flat_fee": "0", "amount": "10"},
        {"from": "20", "to": "25", "quantity": "6", "unit_price": "0.5", "flat_fee": "0", "amount": "3"},
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_known_case_comes_out_as_known(case):
    said = json.loads(answer(json.dumps(case["input"])))
    assert said.get("rounded") == case["rounded"], said
    if "amount" in case:
        assert Decimal(said["amount"]) == Decimal(case["amount"])


RUBBISH = {
    "an empty line": "",
    "spaces": "   ",
    "not JSON": "scheme=volume",
    "half of JSON": '{"scheme": "volume"',
    "a list": "[1, 2]",
    "NaN": '{"quantity": NaN, "brackets": []}',
    "infinity": '{"quantity": -Infinity, "brackets": []}',
    "a double key": '{"quantity": "1", "quantity": "2", "brackets": [{}]}',
    "an unknown key": '{"quantity": "1", "brackets": [{}], "colour": "red"}',
    "deep nesting": "[" * 20_000,
    "no quantity": '{"brackets": [{"unit_price": "1"}]}',
    "no bracket": '{"quantity": "1", "brackets": []}',
    "an unknown scheme": '{"quantity": "1", "brackets": [{}], "scheme": "free"}',
    "a scheme that is a list": '{"quantity": "1", "brackets": [{}], "scheme": []}',
    "an unknown currency": '{"quantity": "1", "brackets": [{}], "currency": "ABC"}',
    "an exponent": '{"quantity": "1e999", "brackets": [{}]}',
    "an exponent as number": '{"quantity": 1e999, "brackets": [{}]}',
    "an underscore": '{"quantity": "1_000", "brackets": [{}]}',
    "full-width digits": '{"quantity": "１２", "brackets": [{}]}',
    "a comma": '{"quantity": "1,5", "brackets": [{}]}',
    "a space": '{"quantity": " 5 ", "brackets": [{}]}',
    "5,000 digits": '{"quantity": "' + "9" * 5000 + '", "brackets": [{}]}',
    "5,000 digits as number": '{"quantity": ' + "9" * 5000 + ', "brackets": [{}]}',
    "true": '{"quantity": true, "brackets": [{}]}',
    "null": '{"quantity": null, "brackets": [{}]}',
    "minus": '{"quantity": "-1", "brackets": [{}]}',
    "seven decimals": '{"quantity": "1.1234567", "brackets": [{}]}',
    "a lone surrogate": '{"quantity": "\\ud800", "brackets": [{}]}',
    "a key with a lone surrogate": '{"\\ud800": "1", "brackets": [{}]}',
    "a discount of more than all": '{"quantity": "1", "brackets": [{}], "discount": "100.000001"}',
    "a discount below nothing": '{"quantity": "1", "brackets": [{}], "discount": "-1"}',
    "a discount in words": '{"quantity": "1", "brackets": [{}], "discount": "10 %"}',
    "no discount but null": '{"quantity": "1", "brackets": [{}], "discount": null}',
    "a bracket that is a number": '{"quantity": "1", "brackets": [7]}',
    "a line that is too long": '{"quantity": "1", "brackets": [' + " " * MAX_LENGTH + "{}]}",
}


@pytest.mark.parametrize("line", RUBBISH.values(), ids=RUBBISH.keys())
def test_rubbish_gets_an_error(line):
    assert json.loads(answer(line)).keys() == {"error"}


def test_the_command_answers_rubbish_and_goes_on():
    good = json.dumps({**EXAMPLE, "scheme": "graduated", "quantity": "25"})
    lines = [good, *RUBBISH.values(), b"\xff\xfe\x00", b"\x00", good]
    answers = quote(*lines)
    assert len(answers) == len(lines)
    assert answers[0]["amount"] == answers[-1]["amount"] == "31"
    assert all(one.keys() == {"error"} for one in answers[1:-1])


@given(st.text(max_size=200))
def test_any_text_gets_an_answer(line):
    assert json.loads(answer(line)).keys() == {"error"}


def test_numbers_of_json_keep_their_digits():
    line = '{"scheme": "per_unit", "quantity": 9007199254740993, "brackets": [{"unit_price": 0.1}]}'
    assert json.loads(answer(line))["error"].startswith("quantity: ")
    line = '{"scheme": "per_unit", "quantity": 900719925474099, "brackets": [{"unit_price": 0.1}]}'
    assert json.loads(answer(line))["amount"] == "90071992547409.9"


@pytest.mark.parametrize(("currency", "rounded"), [("JPY", "3"), ("USD", "2.67"), ("BHD", "2.665")])
def test_halves_are_rounded_away_from_zero_to_the_minor_unit(currency, rounded):
    line = json.dumps(
        {"scheme": "per_unit", "quantity": "1", "brackets": [{"unit_price": "2.665"}], "currency": currency}
    )
    assert json.loads(answer(line))["rounded"] == rounded


@pytest.mark.parametrize(
    ("quantity", "discount", "amount"),
    [
        ("20", "10", "18"),
        ("20", "0", "20"),
        ("20", "100", "0"),
        ("20", "12.5", "17.5"),
        ("3", "10", "4.5"),  # raised to the minimum of 5 first
        ("60", "10", "45"),  # cut to the maximum of 50 first
        ("0", "10", "4.5"),
        ("20", "0.000001", "19.9999998"),
    ],
)
def test_a_discount_is_taken_off_after_minimum_and_maximum(quantity, discount, amount):
    line = {"brackets": [{"unit_price": "1"}], "minimum": "5", "maximum": "50"}
    said = json.loads(answer(json.dumps({**line, "discount": discount, "quantity": quantity})))
    assert said["amount"] == amount
    assert sum(Decimal(step["amount"]) for step in said["steps"]) == Decimal(amount)


def test_without_a_discount_there_is_no_step_of_it():
    line = {"brackets": [{"unit_price": "1"}], "quantity": "3"}
    assert answer(json.dumps({**line, "discount": "0"})) == answer(json.dumps(line))


@FEWER
@given(pricings(schemes=tuple(Scheme)), quantities)
def test_steps_are_written_just_as_their_json(one, quantity):
    for step in rate(one, quantity).steps:
        assert step_text(step) == json.dumps(step_json(step), sort_keys=True, separators=(",", ":"))
