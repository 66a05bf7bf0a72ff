"""Random pricings and quantities for the laws."""

import os
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st

from catalog.pricing import Bracket, Notation, Pricing, Scheme

#: HYPOTHESIS_CASES=100000 for a longer look.
CASES = settings(max_examples=int(os.environ.get("HYPOTHESIS_CASES", "10000")))
#: For laws that follow from others.
FEWER = settings(max_examples=int(os.environ.get("HYPOTHESIS_CASES", "10000")) // 10)

prices = st.decimals(0, 1000, places=6) | st.decimals(0, 10**6, places=12)
quantities = st.decimals(0, 10**4, places=3) | st.decimals(0, 10**15, places=6)
shares = st.decimals(0, 100, places=6)


@st.composite
def pricings(draw, schemes=(Scheme.VOLUME, Scheme.GRADUATED), fees=True):
    included = draw(st.integers(0, 50))
    gaps = draw(st.lists(st.integers(3, 100), max_size=4))
    starts, last = [Decimal(0)], Decimal(included)
    for gap in gaps:
        last += gap
        starts.append(last)
    scheme = draw(st.sampled_from(schemes))
    if scheme in (Scheme.PER_UNIT, Scheme.PACKAGE):
        starts = starts[:1]
    bounds = sorted(draw(st.lists(prices, min_size=2, max_size=2))) if fees else [None, None]
    return Pricing(
        scheme,
        tuple(
            Bracket(start, draw(prices), draw(prices) if fees and draw(st.booleans()) else Decimal(0))
            for start in starts
        ),
        included=Decimal(included),
        notation=draw(st.sampled_from(list(Notation))),
        package_size=draw(st.decimals("0.000001", 1000, places=6)) if scheme is Scheme.PACKAGE else Decimal(1),
        minimum=bounds[0] if draw(st.booleans()) else None,
        maximum=bounds[1] if draw(st.booleans()) else None,
        discount=draw(shares) if fees and draw(st.booleans()) else Decimal(0),
    )
