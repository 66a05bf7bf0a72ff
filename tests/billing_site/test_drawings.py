"""Drawings are the same in every language: SVG knows no decimal comma."""

from decimal import Decimal
from types import SimpleNamespace

from django.template.loader import render_to_string
from django.utils import translation

from billing_site.templatetags import charts
from invoicing.meter import Meter
from invoicing.simulation.summary import Group
from metering.units import GB


def test_bars_are_drawn_with_points_where_people_write_commas():
    measured = {"unit": GB, "used": Decimal(5), "included": Decimal(4), "limit": Decimal(8)}
    meter = Meter(**measured, inside=Decimal("49.5"), over=Decimal("12.25"), tick=Decimal("61.75"))
    group = Group(words="up to 5%", clients=1200, difference=Decimal(1), bar=Decimal("87.5"), top=1024)
    outcome = SimpleNamespace(groups=[group], chart_height=1200, gain=Decimal(1), loss=Decimal(-1))
    with translation.override("de"):
        bar = charts.meter(meter)
        bars = render_to_string("staff/_simulation_distribution.html", {"outcome": outcome, "currency": "EUR"})
    for drawn in ('width="49.5%"', 'width="12.25%"', 'x1="61.75%"'):
        assert drawn in bar
    for drawn in ('width="87.5%"', 'y="1024"', 'height="1200"'):
        assert drawn in bars
