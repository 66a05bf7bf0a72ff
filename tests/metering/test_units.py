"""Units: conversion from the base, rounding, and how quantities are written."""

from decimal import Decimal

import pytest
from django.utils.translation import override
from hypothesis import given
from hypothesis import strategies as st

from metering import units
from metering.language import in_digits, with_percent
from metering.units import BUILT_IN, GB, GIB, MAILBOXES, MB, Unit


@pytest.mark.parametrize(
    ("code", "factor"),
    [
        ("kB", 10**3),
        ("MB", 10**6),
        ("GB", 10**9),
        ("TB", 10**12),
        ("KiB", 2**10),
        ("MiB", 2**20),
        ("GiB", 2**30),
        ("TiB", 2**40),
    ],
)
def test_thousands_and_1024s_are_told_apart(code, factor):
    assert BUILT_IN[code].from_base(Decimal(factor)) == 1


@pytest.mark.parametrize(
    ("unit", "quantity", "written"),
    [
        (MAILBOXES, "1", "1 mailbox"),
        (MAILBOXES, "0", "0 mailboxes"),
        (MAILBOXES, "2", "2 mailboxes"),
        (GB, "16.37", "16.37 GB"),
        (GB, "1234.5", "1,234.5 GB"),
        (GB, "10.000000", "10 GB"),
        (Unit("emails", "email", "emails"), "3120", "3,120 emails"),
    ],
)
def test_a_quantity_is_written_with_its_unit(unit, quantity, written):
    """Statement 69: a whole-number unit shows no decimals, and the noun follows the number."""
    assert unit.write(Decimal(quantity)) == written


def test_a_glance_shows_two_decimals_and_the_bill_all_of_them():
    quantity = Decimal("16.370123")
    assert (GB.write(quantity, places=2), GB.write(quantity)) == ("16.37 GB", "16.370123 GB")


def test_numbers_follow_the_readers_language():
    with override("de"):
        assert GB.write(Decimal("1234.5")) == "1.234,5 GB"


@pytest.mark.parametrize(
    ("language", "written"),
    [("en", "5.8%"), ("de", "5,8\u00a0%"), ("fr", "5,8\u00a0%"), ("tr", "%5,8"), ("hi", "5.8%")],
)
def test_percent_stand_where_the_readers_language_has_them(language, written):
    with override(language):
        assert with_percent(in_digits("5.8")) == written


def test_a_quantity_is_rounded_half_up_to_the_places_of_its_unit():
    assert GB.from_base(Decimal(500)) == Decimal("0.000001")
    assert GB.from_base(Decimal(499)) == 0
    assert MAILBOXES.from_base(Decimal("2.5")) == 3


def test_a_metric_in_bytes_can_be_priced_in_any_unit_of_bytes_and_no_other():
    codes = {unit.code for unit in units.alike(MB)}
    assert {"B", "GB", "GiB", "TiB"} <= codes
    assert "mailboxes" not in codes
    assert units.find("GiB", MB) == GIB
    assert units.find("mailboxes", MB) == MB


def test_units_say_what_they_are():
    assert (GB.explain(), GIB.explain(), MAILBOXES.explain()) == (
        "GB, 1,000³ bytes",
        "GiB, 1,024³ bytes",
        "whole mailboxes",
    )


@given(st.sampled_from(list(BUILT_IN.values())))
def test_a_unit_survives_being_stored(unit):
    assert Unit.from_json(unit.as_json()) == unit


@given(st.sampled_from([u for u in BUILT_IN.values() if not u.is_whole]), st.decimals(0, 10**6, places=6))
def test_a_quantity_survives_the_way_to_its_base_and_back(unit, quantity):
    assert unit.from_base(unit.to_base(quantity)) == quantity
