"""What the pricing editor says about a pricing that is being typed: ranges in words, an example, mistakes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise

from django.core.exceptions import ValidationError
from django.forms.boundfield import BoundField
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from catalog.aggregation import Aggregation
from catalog.cautions import Caution, cautions, inside_included, long_terms, missing_prices
from catalog.curve import Curve, curve
from catalog.forms import NO_PRICE, NOT_PLAIN, NumberField, PricingForm
from catalog.models import PricingVersion
from catalog.money import minor_units, round_amount, write, write_price
from catalog.pricing import Pricing, PricingError, Scheme, rate
from catalog.sheet import differences
from catalog.typed import Column, Subject, Typed, home_first
from catalog.wording import CYCLES, bracket_price, bracket_ranges, charge_rows, price_sentence
from metering.decimals import EXACT, round_half_up

#: The fields that a pricing has besides its brackets.
_TERMS = ("scheme", "unit", "included", "package_size", "notation")


@dataclass(frozen=True)
class Problem:
    """What stops a form: what to link to, how that is called, and what to say."""

    id: str
    label: str
    message: str
    note: str = ""


@dataclass(frozen=True)
class TableRow:
    """A row of the brackets table: its fields, those for money under their headings, and what it says in words."""

    number: int
    start: BoundField
    prices: list[tuple[str, BoundField]]
    words: str
    fees: list[tuple[str, BoundField]] = field(default_factory=list)


@dataclass(frozen=True)
class Example:
    """What a quantity would cost, or what is in the way of saying so."""

    typed: str
    currency: str
    quantity_error: str = ""
    is_unpriced: bool = False
    problems: list[Problem] = field(default_factory=list)
    total: str = ""
    quantity: str = ""
    number: str = ""
    exactly: str = ""
    average: str = ""
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Past:
    """A version in the history, with what became or will become of it."""

    version: PricingVersion
    state: str
    sentences: list[str]
    #: What it changed of the one before; None for the first.
    changes: list[str] | None
    may_be_withdrawn: bool


def table(form: PricingForm, draft: PricingForm, currency: str) -> list[TableRow]:
    """Return the rows of the brackets table. `draft` is the same form, checked."""
    currencies = [column.currency for column in form.subject.columns]
    return [
        TableRow(
            number,
            form[f"start-{number}"],
            [(each, form[f"price-{number}-{each}"]) for each in currencies],
            words,
            [(each, form[f"fee-{number}-{each}"]) for each in currencies],
        )
        for number, words in zip(form.numbers, _row_words(draft, currency), strict=True)
    ]


def bounds(form: PricingForm) -> list[tuple[Column, BoundField, BoundField]]:
    """Return the fields of the least and the most that is charged, by currency."""
    return [
        (column, form[f"minimum-{column.currency}"], form[f"maximum-{column.currency}"])
        for column in form.subject.columns
    ]


def has_fees(typed: Typed) -> bool:
    """Whether more than prices of units was typed."""
    names = ("fee-", "minimum-", "maximum-")
    return any(text.strip() for name, text in typed.items() if name.startswith(names))


def _row_words(draft: PricingForm, currency: str) -> list[str]:
    kept = [number for number in draft.numbers if f"start-{number}" not in draft.errors]
    pricing = _pricing(draft, kept, currency)
    words = dict.fromkeys(draft.numbers, "")
    if pricing is not None:
        for number, bracket, said in zip(kept, pricing.brackets, bracket_ranges(pricing, draft.unit), strict=True):
            is_priced = draft.cleaned_data.get(f"price-{number}-{currency}") is not None
            price = _("no price in %(currency)s yet") % {"currency": currency}
            if is_priced:
                price = bracket_price(pricing, bracket, draft.unit, currency)
            words[number] = f"{said}: {price}"
    return list(words.values())


def _pricing(draft: PricingForm, numbers: Iterable[int], currency: str) -> Pricing | None:
    """Return the pricing of some rows, a missing price as 0; None while there is none."""
    if not set(_TERMS) <= draft.cleaned_data.keys():
        return None
    try:
        return draft.pricing(currency, numbers)
    except PricingError:
        return None


def problems(form: PricingForm, names: Iterable[str] | None = None) -> list[Problem]:
    """Return what is wrong with a checked form, or with some of its fields, in the order of the page."""
    services = {column.currency: column.services for column in form.subject.columns}
    found = []
    for name in form.fields if names is None else names:
        for message in map(str, form.errors.get(name, [])):
            note = _note(message, name.rpartition("-")[2], services)
            found.append(Problem(form[name].auto_id, str(form.fields[name].label), message, note))
    return found


def _note(message: str, currency: str, services: Mapping[str, int]) -> str:
    """What to know about a mistake, when there is more to it than fits below a field."""
    count = services.get(currency, 0)
    if message == str(NO_PRICE) and count:
        words = ngettext(
            "%(count)s service is billed in %(currency)s.", "%(count)s services are billed in %(currency)s.", count
        )
        return words % {"count": count, "currency": currency}
    return _("Write it like 1234.5, without spaces and commas.") if message == str(NOT_PLAIN) else ""


def chosen_currency(draft: PricingForm) -> str:
    """Return the currency that the preview is in."""
    typed, columns = draft.typed.get("currency", ""), draft.subject.currencies
    return typed if typed in columns else columns[0]


def example(draft: PricingForm) -> Example:
    """Rate the quantity that was typed, by what was typed, in the currency that was chosen."""
    shown = Example(draft.typed.get("quantity", ""), chosen_currency(draft))
    try:
        quantity = NumberField(places=draft.unit.places).clean(shown.typed)
    except ValidationError as error:
        return replace(shown, quantity_error=error.messages[0])
    kinds = {kind: [name for name in draft.fields if name.startswith(f"{kind}-")] for kind in ("start", "price", "fee")}
    prices, fees = ([name for name in kinds[kind] if name.endswith(shown.currency)] for kind in ("price", "fee"))
    if not any(draft.typed.get(name, "").strip() for name in prices):
        return replace(shown, is_unpriced=True)
    bounds = [f"{name}-{shown.currency}" for name in ("minimum", "maximum")]
    found = problems(draft, [*_TERMS, *kinds["start"], *prices, *fees, *bounds])
    pricing = None if found else _pricing(draft, draft.numbers, shown.currency)
    return replace(shown, problems=found) if pricing is None else _worked(shown, draft, pricing, quantity)


def _worked(shown: Example, draft: PricingForm, pricing: Pricing, quantity: Decimal) -> Example:
    currency, charge = shown.currency, rate(pricing, quantity)
    is_round = round_amount(charge.amount, currency) == charge.amount
    return replace(
        shown,
        total=write(charge.amount, currency),
        quantity=draft.unit.write(quantity),
        number=draft.unit.number(quantity),
        exactly="" if is_round else write_price(charge.amount, currency),
        average=_average(charge.amount, quantity, currency)
        if quantity and pricing.scheme is not Scheme.PACKAGE
        else "",
        rows=charge_rows(pricing, charge, draft.unit, currency),
    )


def _average(amount: Decimal, quantity: Decimal, currency: str) -> str:
    average = EXACT.divide(amount, quantity)
    places = max(minor_units(currency) + 2, 2 - average.adjusted())
    rounded = round_half_up(average, places)
    words = write_price(rounded, currency)
    return words if rounded == average else _("about %(amount)s") % {"amount": words}


def changes(draft: PricingForm) -> list[str] | None:
    """Say what a valid form changes of the version that it would follow; None for the first version."""
    day = draft.cleaned_data["effective_from"]
    before = draft.subject.setting.version_on(day) if draft.subject.versions else None
    return differences(before.sheet, draft.sheet) if before else None


def history(subject: Subject) -> list[Past]:
    """Return the versions, newest first."""
    standing = [version for version in subject.versions if not version.is_withdrawn]
    order = sorted(standing, key=lambda version: (version.effective_from, version.number))
    ends = {version.pk: after.effective_from for version, after in pairwise(order)}
    return [
        Past(
            version,
            _state(version, ends.get(version.pk), subject),
            _sentences(version),
            _changed(version, standing),
            not version.is_withdrawn and version.effective_from > subject.today,
        )
        for version in sorted(subject.versions, key=lambda version: -version.number)
    ]


def _state(version: PricingVersion, end: object, subject: Subject) -> str:
    if version.is_withdrawn:
        return "withdrawn"
    if end == version.effective_from:
        return "replaced"
    if version.effective_from > subject.today:
        return "planned"
    return "now" if version == subject.setting.version_on(subject.today) else "over"


def _sentences(version: PricingVersion) -> list[str]:
    pricings = [(currency, version.pricing(currency)) for currency in home_first(version.currencies)]
    return [price_sentence(pricing, version.unit, currency) for currency, pricing in pricings if pricing]


def _changed(version: PricingVersion, standing: list[PricingVersion]) -> list[str] | None:
    """Say what a version changed of the one that was in force on its day when it was saved."""
    before = [
        each for each in standing if each.number < version.number and each.effective_from <= version.effective_from
    ]
    if not before:
        return None
    last = max(before, key=lambda each: (each.effective_from, each.number))
    return differences(last.sheet, version.sheet)


def cautions_of(draft: PricingForm) -> list[Caution]:
    """Say what may surprise in what was typed, in the currency that is chosen, and what misses in any."""
    pricing, _left_out = _drawn(draft)
    surprises = cautions(pricing, draft.unit, chosen_currency(draft)) if pricing else []
    return [*_unpriced(draft), *_inside_included(draft), *surprises, *_long_terms(draft)]


def _long_terms(draft: PricingForm) -> list[Caution]:
    """Warn of a level that is billed by its last value where a term can be longer than a month (as WHMCS advises)."""
    long = sorted((each for each in draft.subject.cycles if each.months > 1), key=lambda each: each.months)
    is_level = not draft.subject.setting.metric.adds_up
    is_last = draft.cleaned_data.get("aggregation") is Aggregation.LATEST
    return [long_terms([str(CYCLES[each]) for each in long])] if long and is_level and is_last else []


def curve_of(draft: PricingForm) -> Curve | None:
    """Draw what was typed, in the currency that is chosen; None while there is nothing to draw."""
    pricing, left_out = _drawn(draft)
    if pricing is None:
        return None
    note = ngettext(
        "Left out until it is complete: %(what)s.", "Left out until they are complete: %(what)s.", len(left_out)
    ) % {"what": ", ".join(left_out)}
    return replace(curve(pricing, draft.unit, chosen_currency(draft)), note=note if left_out else "")


def _drawn(draft: PricingForm) -> tuple[Pricing | None, list[str]]:
    """Return the pricing of the rows that are complete in the chosen currency, and what is left out of it."""
    currency = chosen_currency(draft)
    kept = [
        number
        for number in draft.numbers
        if draft.cleaned_data.get(f"price-{number}-{currency}") is not None
        and not {f"start-{number}", f"fee-{number}-{currency}"} & draft.errors.keys()
    ]
    left_out = [_("bracket %(number)s") % {"number": number} for number in draft.numbers if number not in kept]
    bounds = {"minimum": _("the minimum charge"), "maximum": _("the maximum charge")}
    left_out += [words for name, words in bounds.items() if f"{name}-{currency}" in draft.errors]
    return _pricing(draft, kept, currency), left_out


def _unpriced(draft: PricingForm) -> list[Caution]:
    """Name the brackets without a price in a currency that needs one, once there is any price at all."""

    def is_typed(name: str) -> bool:
        return bool(draft.typed.get(name, "").strip())

    columns = draft.subject.columns
    priced = {
        column.currency: {number for number in draft.numbers if is_typed(f"price-{number}-{column.currency}")}
        for column in columns
    }
    in_any = set().union(*priced.values())
    begun = [number for number in draft.numbers if number in in_any or is_typed(f"start-{number}")]
    missing = {each: [number for number in begun if number not in priced[each]] for each in priced}
    return [
        missing_prices(
            column.currency,
            missing[column.currency],
            is_every=not priced[column.currency],
            services=column.services,
        )
        for column in columns
        if in_any and missing[column.currency] and (column.services or column.is_required)
    ]


def _inside_included(draft: PricingForm) -> list[Caution]:
    """Name the brackets that are refused because more is included than they start with."""
    included, starts = draft.cleaned_data.get("included") or Decimal(0), []
    for number in draft.numbers if included else []:
        name = f"start-{number}"
        try:
            start = draft.fields[name].clean(draft.typed.get(name, ""))
        except ValidationError:
            continue
        if name in draft.errors and 0 < start <= included:
            starts.append((number, start))
    return [inside_included(starts, included, draft.unit)] if starts else []
