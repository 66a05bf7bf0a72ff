"""What a quantity costs: pure, exact arithmetic, with the steps that explain it.

Decimal in, Decimal out. Nothing here rounds, and nothing depends on the caller's decimal context.

Brackets lie on the axis of total usage. The first starts right after the quantity included; each ends
where the next begins. How a starting quantity is meant is its notation: `first_unit` (10 means that the
10th unit has the new price, so the bracket before ends with 9) or `above` (10 means up to and including
10 at the old price). Both become inclusive upper bounds, so that there is one piece of arithmetic.
The schemes and their boundaries are those of section 5 of the design; the worked example of WHMCS
(brackets from 1, 10 and 20 at 2, 1 and 0.50) is kept by the tests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Context, Decimal, Inexact, InvalidOperation
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from metering.decimals import EXACT

ZERO = Decimal(0)
ONE = Decimal(1)
#: Bounds of what is accepted: quantities below 10**15 + 1 with 6 decimals, prices below 10**12 with 18.
MAX_QUANTITY, QUANTITY_PLACES = Decimal(10**15), 6
MAX_PRICE, PRICE_PLACES = Decimal(10**12), 18
HUNDRED = Decimal(100)

_add, _subtract, _multiply, _divide = EXACT.add, EXACT.subtract, EXACT.multiply, EXACT.divide


class Scheme(StrEnum):
    """How brackets price units."""

    PER_UNIT = "per_unit"
    VOLUME = "volume"
    GRADUATED = "graduated"
    PACKAGE = "package"


class Notation(StrEnum):
    """What the starting quantity of a bracket means."""

    FIRST_UNIT = "first_unit"
    ABOVE = "above"


class PricingError(ValueError):
    """A pricing or a quantity that cannot be rated. `field` says which part of it, `reason` why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Bracket:
    """A starting quantity with the price of each unit from there, and a fee for reaching it."""

    start: Decimal
    unit_price: Decimal
    flat_fee: Decimal = ZERO


class Step(NamedTuple):
    """One clause of the explanation: `quantity` × `unit_price` + `flat_fee` = `amount`.

    `start` and `end` are the range of total usage that it covers, as people count it, both included.
    They are None for a step that raises the sum to the minimum or cuts it to the maximum charge, as a
    fee, and for a discount: there the quantity is the sum before it, and the price is below 0. For a
    package the quantity is the number of packages.
    """

    start: Decimal | None
    end: Decimal | None
    quantity: Decimal
    unit_price: Decimal
    flat_fee: Decimal
    amount: Decimal

    @property
    def is_discount(self) -> bool:
        return self.unit_price < ZERO


class Charge(NamedTuple):
    """An exact amount, with the steps that add up to it."""

    quantity: Decimal
    amount: Decimal
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Pricing:
    """The prices of one metric in one currency.

    Raises PricingError for anything that could be read in two ways: no bracket, bounds out of order or
    doubled, a start inside the quantity included, a price that is negative or not finite.
    """

    scheme: Scheme
    brackets: tuple[Bracket, ...]
    included: Decimal = ZERO
    notation: Notation = Notation.ABOVE
    package_size: Decimal = ONE
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    #: Percent off the charge, after its minimum and maximum.
    discount: Decimal = ZERO

    def __post_init__(self) -> None:
        _bounded("included", self.included, MAX_QUANTITY, QUANTITY_PLACES)
        _bounded("package_size", self.package_size, MAX_QUANTITY, QUANTITY_PLACES)
        if not self.package_size:
            raise PricingError("package_size", "must be above 0")
        _bounded("discount", self.discount, HUNDRED, QUANTITY_PLACES)
        self._check_brackets()
        for name in ("minimum", "maximum"):
            if (value := getattr(self, name)) is not None:
                _bounded(name, value, MAX_PRICE, PRICE_PLACES)
        if self.minimum is not None and self.maximum is not None and self.maximum < self.minimum:
            raise PricingError("maximum", f"{self.maximum} is below the minimum charge of {self.minimum}")

    def _check_brackets(self) -> None:
        if not self.brackets:
            raise PricingError("brackets", "there must be at least one")
        if self.scheme in (Scheme.PER_UNIT, Scheme.PACKAGE) and len(self.brackets) > 1:
            raise PricingError("brackets", f"{self.scheme} takes exactly one, not {len(self.brackets)}")
        for number, bracket in enumerate(self.brackets, start=1):
            _bounded(f"brackets[{number}].start", bracket.start, MAX_QUANTITY, QUANTITY_PLACES)
            _bounded(f"brackets[{number}].unit_price", bracket.unit_price, MAX_PRICE, PRICE_PLACES)
            _bounded(f"brackets[{number}].flat_fee", bracket.flat_fee, MAX_PRICE, PRICE_PLACES)
        if self._bound(self.brackets[0]) > self.included:
            raise PricingError(
                "brackets[1].start",
                f"{self.brackets[0].start} leaves a gap: the first bracket starts right after the included "
                f"{self.included}",
            )
        bound = self.included
        for number, bracket in enumerate(self.brackets[1:], start=2):
            if self._bound(bracket) <= bound:
                before = "the included quantity" if number == 2 else "the bracket before"
                raise PricingError(f"brackets[{number}].start", f"{bracket.start} must be above {before}")
            bound = self._bound(bracket)

    def _bound(self, bracket: Bracket) -> Decimal:
        """Return the last quantity that still belongs to the bracket before this one."""
        if self.notation is Notation.ABOVE or not bracket.start:
            return bracket.start
        return _subtract(bracket.start, ONE)

    @cached_property
    def ranges(self) -> tuple[tuple[Decimal, Decimal | None, Bracket], ...]:
        """Return each bracket with the quantities it lies between: above the first, up to the second."""
        lowers = (self.included, *(self._bound(bracket) for bracket in self.brackets[1:]))
        uppers: tuple[Decimal | None, ...] = (*lowers[1:], None)
        return tuple(zip(lowers, uppers, self.brackets, strict=True))

    def first(self, lower: Decimal, end: Decimal | None = None) -> Decimal:
        """Return the first quantity above `lower` as people count it: 10 after 9, or "above 9"."""
        if self.notation is Notation.ABOVE:
            return lower
        return lower if end is not None and end < _add(lower, ONE) else _add(lower, ONE)

    @cached_property
    def whole_steps(self) -> tuple[Step, ...]:
        """Return the steps of a graduated pricing for each bracket that is used up, lowest first."""
        return tuple(
            _step(self, lower, upper, _subtract(upper, lower), bracket)
            for lower, upper, bracket in self.ranges
            if upper is not None
        )

    @cached_property
    def ladder(self) -> tuple["Rung", ...]:
        """Return the brackets of a graduated pricing, highest first, each with what is charged below it."""
        rungs: list[Rung] = []
        below = ZERO
        for number, (lower, _, bracket) in enumerate(self.ranges):
            below = _add(below, self.whole_steps[number - 1].amount) if number else below
            rungs.append(Rung(lower, bracket, below, _add(below, bracket.flat_fee), number))
        return tuple(reversed(rungs))

    @cached_property
    def is_adjusted(self) -> bool:
        """Whether there is more to a charge than its brackets."""
        return self.minimum is not None or self.maximum is not None or bool(self.discount)

    @cached_property
    def charge_of(self) -> Callable[["Pricing", Decimal], Decimal]:
        """The arithmetic of the scheme, looked up once: hashing a name takes as long as the arithmetic."""
        return _AMOUNTS[self.scheme]

    @cached_property
    def steps_of(self) -> Callable[["Pricing", Decimal], tuple[Decimal, tuple[Step, ...]]]:
        return _STEPS[self.scheme]

    @cached_property
    def share_off(self) -> Decimal:
        """The discount as the price of one unit of money: -0.1 for 10 percent."""
        return _divide(self.discount, HUNDRED).copy_negate()

    def with_included(self, included: Decimal) -> "Pricing":
        """Return this pricing with another quantity included. The brackets stay where they are on the axis of
        total usage; those that lie wholly inside the quantity included fall away. Raises PricingError."""
        _bounded("included", included, MAX_QUANTITY, QUANTITY_PLACES)
        above = [bracket for _, upper, bracket in self.ranges if upper is None or upper > included]
        first = Bracket(ZERO, above[0].unit_price, above[0].flat_fee)
        return replace(self, brackets=(first, *above[1:]), included=included)


class Rung(NamedTuple):
    """A bracket of a graduated pricing, with the charge and the number of brackets below it.

    `base` is that charge and the bracket's own flat fee.
    """

    lower: Decimal
    bracket: Bracket
    below: Decimal
    base: Decimal
    number_below: int


def amount(pricing: Pricing, quantity: Decimal) -> Decimal:
    """Return the exact charge for a quantity, without its steps. Raises PricingError."""
    _check_quantity(quantity)
    total = pricing.charge_of(pricing, quantity) if quantity > pricing.included else ZERO
    if pricing.is_adjusted:
        total = _within_bounds(pricing, total)
        total = _add(total, _multiply(total, pricing.share_off))
    return total


def rate(pricing: Pricing, quantity: Decimal) -> Charge:
    """Turn a quantity into its exact charge and the steps that add up to it. Raises PricingError."""
    _check_quantity(quantity)
    total, steps = pricing.steps_of(pricing, quantity) if quantity > pricing.included else (ZERO, ())
    if pricing.is_adjusted:
        if (bounded := _within_bounds(pricing, total)) != total:
            difference = _subtract(bounded, total)
            total, steps = bounded, (*steps, Step(None, None, ZERO, ZERO, difference, difference))
        if pricing.discount and total:
            off = _multiply(total, pricing.share_off)
            total, steps = _add(total, off), (*steps, Step(None, None, total, pricing.share_off, ZERO, off))
    return Charge(quantity, total, steps)


def added(charges: Sequence[Charge]) -> Charge:
    """Add charges up into one, its steps in their order."""
    if len(charges) == 1:
        return charges[0]
    quantity = total = ZERO
    for charge in charges:
        quantity, total = _add(quantity, charge.quantity), _add(total, charge.amount)
    return Charge(quantity, total, tuple(step for charge in charges for step in charge.steps))


def _within_bounds(pricing: Pricing, total: Decimal) -> Decimal:
    if pricing.minimum is not None and total < pricing.minimum:
        return pricing.minimum
    if pricing.maximum is not None and total > pricing.maximum:
        return pricing.maximum
    return total


def _graduated_amount(pricing: Pricing, quantity: Decimal) -> Decimal:
    for lower, bracket, _, base, _ in pricing.ladder:
        if quantity > lower:
            return _add(base, _multiply(_subtract(quantity, lower), bracket.unit_price))
    return ZERO


def _graduated_steps(pricing: Pricing, quantity: Decimal) -> tuple[Decimal, tuple[Step, ...]]:
    for lower, bracket, below, _, number_below in pricing.ladder:
        if quantity > lower:
            last = _step(pricing, lower, quantity, _subtract(quantity, lower), bracket)
            return _add(below, last.amount), (*pricing.whole_steps[:number_below], last)
    return ZERO, ()


def _reached(pricing: Pricing, quantity: Decimal) -> Bracket:
    for _, upper, bracket in pricing.ranges:
        if upper is None or quantity <= upper:
            return bracket
    raise AssertionError("the last bracket has no upper bound")


def _volume_amount(pricing: Pricing, quantity: Decimal) -> Decimal:
    bracket = _reached(pricing, quantity)
    return _add(_multiply(_subtract(quantity, pricing.included), bracket.unit_price), bracket.flat_fee)


def _volume_steps(pricing: Pricing, quantity: Decimal) -> tuple[Decimal, tuple[Step, ...]]:
    charged = _subtract(quantity, pricing.included)
    step = _step(pricing, pricing.included, quantity, charged, _reached(pricing, quantity))
    return step.amount, (step,)


def _packages(pricing: Pricing, quantity: Decimal) -> Decimal:
    started = _divide(_subtract(quantity, pricing.included), pricing.package_size)
    return started.to_integral_value(ROUND_CEILING, context=EXACT)


def _package_amount(pricing: Pricing, quantity: Decimal) -> Decimal:
    bracket = pricing.brackets[0]
    return _add(_multiply(_packages(pricing, quantity), bracket.unit_price), bracket.flat_fee)


def _package_steps(pricing: Pricing, quantity: Decimal) -> tuple[Decimal, tuple[Step, ...]]:
    step = _step(pricing, pricing.included, quantity, _packages(pricing, quantity), pricing.brackets[0])
    return step.amount, (step,)


def _step(pricing: Pricing, lower: Decimal, end: Decimal, quantity: Decimal, bracket: Bracket) -> Step:
    cost = _add(_multiply(quantity, bracket.unit_price), bracket.flat_fee)
    return Step(pricing.first(lower, end), end, quantity, bracket.unit_price, bracket.flat_fee, cost)


_AMOUNTS: dict[Scheme, Callable[[Pricing, Decimal], Decimal]] = {
    Scheme.PER_UNIT: _volume_amount,
    Scheme.VOLUME: _volume_amount,
    Scheme.GRADUATED: _graduated_amount,
    Scheme.PACKAGE: _package_amount,
}
_STEPS: dict[Scheme, Callable[[Pricing, Decimal], tuple[Decimal, tuple[Step, ...]]]] = {
    Scheme.PER_UNIT: _volume_steps,
    Scheme.VOLUME: _volume_steps,
    Scheme.GRADUATED: _graduated_steps,
    Scheme.PACKAGE: _package_steps,
}


_SIXTH = Decimal(1).scaleb(-QUANTITY_PLACES)
#: Refuses a quantity with more decimals, and one of more digits than any quantity has.
_quantize = Context(prec=22, traps=[Inexact, InvalidOperation]).quantize


def _check_quantity(quantity: Decimal) -> None:
    """The ordinary quantity passes in a few steps; what does not is looked at again, for the reason."""
    try:
        # refuses what has too many digits or decimals or is infinite; NaN is in no order
        if type(quantity) is Decimal and _quantize(quantity, _SIXTH) >= ZERO and quantity <= MAX_QUANTITY:
            return
    except (Inexact, InvalidOperation):
        pass
    _bounded("quantity", quantity, MAX_QUANTITY, QUANTITY_PLACES)


def _bounded(field: str, value: Decimal, most: Decimal, places: int) -> None:
    if not isinstance(value, Decimal):
        raise PricingError(field, f"must be a Decimal, not {type(value).__name__}")
    if not value.is_finite():
        raise PricingError(field, f"{value} is not a number")
    if value < ZERO:
        raise PricingError(field, f"{value} is negative")
    if value > most:
        raise PricingError(field, f"{value} is above {most:,}")
    if -value.as_tuple().exponent > places and value != value.quantize(Decimal(1).scaleb(-places), context=EXACT):  # type: ignore[operator]
        raise PricingError(field, f"{value} has more than {places} decimal places")
