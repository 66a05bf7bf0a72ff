"""What the PDF of a document says: texts only, from what the document froze, in the language it was issued in.

Nothing in it changes once the document is issued: not whether it is paid, not what became of its lines later, not
what its client, services or metrics are called by now.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from babel.numbers import get_currency_name
from django.utils.translation import get_language, pgettext
from django.utils.translation import gettext as _

from catalog.money import write, write_price
from catalog.pricing import Charge
from catalog.quote import read_pricing
from catalog.wording import charge_sentence
from invoicing.models import Invoice, Line
from invoicing.parts import Part, read_step
from invoicing.proof import Proof
from metering import dates, language
from metering.decimals import EXACT, exact_sum

#: A word of more characters may be broken anywhere, after so many: no name runs out of its column.
LONG, PIECE = 28, 4
ZERO_WIDTH_SPACE, BOX = "\N{ZERO WIDTH SPACE}", "\N{WHITE SQUARE}"
#: What would turn the text around it: a name is nobody's place for that.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_WORD = re.compile(rf"[^\s{ZERO_WIDTH_SPACE}]{{{LONG},}}")

Row = dict[str, Any]


def name_of(invoice: Invoice) -> str:
    """What a document is called: `Invoice 2026-00418`."""
    if invoice.is_credit_note:
        return _("Credit note %(number)s") % {"number": invoice.number}
    return _("Invoice %(number)s") % {"number": invoice.number}


def contents(invoice: Invoice, proofs: Sequence[Proof], is_known: Callable[[str], bool]) -> dict[str, Any]:
    """Return all that the PDF of a document says, as JSON for `typst/invoice.typ`, in the active language.

    `is_known` says which characters the fonts have; a box stands for the others.
    """
    seller, buyer = invoice.seller, invoice.buyer
    tongue, _separator, region = (get_language() or "en").partition("-")
    said = {
        "lang": tongue,
        "region": region.upper() if len(region) == 2 else "",
        "issued": {part: getattr(invoice.issued_on, part) for part in ("year", "month", "day")},
        "title": name_of(invoice),
        "about": list(_about(invoice)),
        "seller": _party(seller),
        "buyer": _party(buyer),
        "facts": list(_facts(invoice)),
        "labels": {
            "from": pgettext("seller", "From"),
            "to": _("To"),
            "facts": _("Details"),
            "position": _("No."),
            "description": _("Description"),
            "quantity": _("Quantity"),
            "price": _("Unit price"),
            "amount": _("Amount"),
            "payment": _("How to pay"),
            "page": _("Page %(page)s of %(pages)s") % {"page": "{page}", "pages": "{pages}"},
        },
        "lines": [_line(invoice, proof) for proof in proofs],
        "before_total": [(name, write(amount, invoice.currency)) for name, amount in invoice.tax_rows],
        "total": {
            "name": _("Given back") if invoice.is_credit_note else _("Total"),
            "amount": write(invoice.total, invoice.currency),
        },
        "payment": invoice.how_to_pay,
        "notes": [
            *([invoice.tax_note.splitlines()] if invoice.tax_note else []),
            *([seller["note"].splitlines()] if seller.get("note") else []),
            [_("Of the two days of a period, the first is part of it and the last is not.")],
        ],
        "footer": " · ".join(filter(None, [seller["name"], _tax(seller)])),
    }
    return {key: _drawable(value, is_known) for key, value in said.items()}


def _about(invoice: Invoice) -> Iterator[list[str]]:
    """What it credits or replaces, and why."""
    if invoice.credits is not None:
        names = {"number": invoice.credits.number, "day": dates.full_day(invoice.credits.issued_on)}
        yield [_("Credits invoice %(number)s of %(day)s.") % names]
    if invoice.reason:
        yield invoice.reason.splitlines()


def _party(copy: dict[str, Any]) -> dict[str, Any]:
    """Seller or buyer, as copied at issue; older copies have a name and an address alone."""
    address = [line for line in copy.get("address", "").splitlines() if line.strip()]
    return {"name": copy["name"], "address": address, "tax": _tax(copy)}


def _tax(copy: dict[str, Any]) -> str:
    return _("Tax number %(number)s") % {"number": copy["tax_number"]} if copy.get("tax_number") else ""


def _facts(invoice: Invoice) -> Iterator[tuple[str, str]]:
    yield _("Issued"), dates.full_day(invoice.issued_on)
    if not invoice.is_credit_note:
        yield _("Payable by"), dates.full_day(invoice.due_on)
    name = get_currency_name(invoice.currency, locale=language.current())
    yield _("Currency"), f"{name} ({invoice.currency})" if name != invoice.currency else name


def _line(invoice: Invoice, proof: Proof) -> dict[str, Any]:
    line, currency = proof.line, invoice.currency
    quantity, price, rows, sentence = "", "", list[Row](), ""
    if proof.is_correction:
        quantity, rows = _difference(proof), [*_steps(proof), *_correction(proof)]
    elif proof.is_usage:
        assert proof.unit is not None
        assert line.quantity is not None
        quantity, rows = proof.unit.write(line.quantity), _steps(proof)
        sentence = _sentence(proof)
        if price := _only_price(proof, rows):
            rows = []
        elif len(rows) < 2 and not any(row["price"] for row in rows):
            rows, sentence = [], ""  # nothing was charged, and the line says why
    elif not proof.is_credit:
        quantity, price = "1", write_price(line.exact, currency)
    service = _service(invoice, line)
    detail = line.detail
    if sentence and (rest := detail.removeprefix(f"{service}: ").removeprefix(sentence)) != detail:
        detail = rest.lstrip("; ")
    return {
        "position": str(line.position),
        "title": line.title,
        "texts": [
            # A recurring line names its service and term itself.
            *(
                []
                if line.kind == Line.Kind.RECURRING and line.detail
                else [f"{service}, {dates.span(line.start, line.end)}"]
            ),
            *filter(None, [detail, proof.stated.aggregated, *_origin(proof)]),
        ],
        "quantity": quantity,
        "price": price,
        "amount": write(proof.amount, currency),
        "rows": [] if not rows else _aligned(rows),
    }


def _service(invoice: Invoice, line: Line) -> str:
    """What its service was called. Documents from before that was copied have the name of today."""
    return str(invoice.buyer.get("services", {}).get(str(line.service_id), line.service.name))


def _origin(proof: Proof) -> Iterator[str]:
    origin = proof.origin
    if origin is None:
        return
    names = {"title": origin.title, "position": origin.position, "number": origin.invoice.number}
    if proof.is_correction:
        yield _("Corrects “%(title)s”, line %(position)s of %(number)s.") % names
    else:
        yield _("Gives back “%(title)s”, line %(position)s of %(number)s.") % names


def _sentence(proof: Proof) -> str:
    """What the line says of its charge, to be left out where the steps say the same."""
    line = proof.line
    if line.kind not in {Line.Kind.USAGE, Line.Kind.OVERAGE} or proof.rates_each_period:
        return ""
    assert proof.unit is not None
    assert line.quantity is not None
    charge = Charge(line.quantity, line.exact, tuple(map(read_step, line.steps)))
    return charge_sentence(read_pricing(dict(line.pricing or {})), charge, proof.unit, proof.currency)


def _only_price(proof: Proof, rows: Sequence[Row]) -> str:
    """The price of all of it, if one price times the quantity is the amount; then no steps are needed."""
    assert proof.unit is not None
    assert proof.line.quantity is not None
    if len(rows) != 1 or proof.line.exact != proof.line.amount:
        return ""
    return rows[0]["price"] if rows[0]["quantity"] == proof.unit.number(proof.line.quantity) else ""


def _steps(proof: Proof) -> list[Row]:
    """How the charge came about, its amounts exact. Periods that were each rated by itself are named, if few."""
    currency, line = proof.currency, proof.line
    if not proof.lists_parts:
        together = exact_sum(part.exact for part in proof.parts)
        name = _("%(count)s periods, each rated by itself") % {"count": len(proof.periods)}
        return [_row(name, amount=write_price(together, currency), strong=True)]
    rows = [row for part in proof.parts for row in _part(part)]
    if proof.free_periods:
        name = _("%(count)s more periods, nothing to charge") % {"count": proof.free_periods}
        rows.append(_row(name, amount=write_price(Decimal(0), currency), strong=True))
    stepped = exact_sum(read_step(step).amount for step in line.steps)
    if not proof.is_correction and line.kind != Line.Kind.CREDIT and (before := EXACT.subtract(stepped, line.exact)):
        rows.append(_row(_("Charged before"), amount=write(-before, currency)))
    if len(rows) > 1 and line.exact != proof.charged:
        rows.append(_row(_("Together, before it is rounded once"), amount=write_price(line.exact, currency)))
    return rows


def _part(part: Part) -> Iterator[Row]:
    if part.period:
        yield _row(part.period, part.quantity, amount=part.amount, strong=True)
    for name, quantity, price, amount in part.rows:
        yield _row(name, quantity, price, amount)


def _correction(proof: Proof) -> Iterator[Row]:
    """Both quantities, what each costs, and the difference."""
    line, currency, unit = proof.line, proof.currency, proof.unit
    assert unit is not None
    assert line.before is not None
    assert line.quantity is not None
    yield _row(_("Now"), unit.write(line.quantity), amount=write(proof.charged, currency), strong=True)
    yield _row(_("As it was billed before"), unit.write(line.before), amount=write(line.settled, currency), strong=True)
    yield _row(_("Difference"), _difference(proof), amount=_signed(proof.difference, currency), strong=True)
    if proof.difference != proof.amount:
        yield _row(_("Of that on this line"), amount=_signed(proof.amount, currency), strong=True)


def _difference(proof: Proof) -> str:
    line, unit = proof.line, proof.unit
    assert unit is not None
    assert line.before is not None
    assert line.quantity is not None
    difference = EXACT.subtract(line.quantity, line.before)
    sign = "+" if difference > 0 else "\N{MINUS SIGN}" if difference < 0 else ""
    return f"{sign}{unit.write(abs(difference))}"


def _signed(amount: Decimal, currency: str) -> str:
    return f"+{write(amount, currency)}" if amount > 0 else write(amount, currency)


def _row(name: str, quantity: str = "", price: str = "", amount: str = "", *, strong: bool = False) -> Row:
    return {"name": name, "quantity": quantity, "price": price, "amount": amount, "strong": strong}


def _aligned(rows: list[Row]) -> list[Row]:
    """Give the numbers of each column the same width behind the decimal point, by zeros that are not seen."""
    point = language.in_digits(".")
    columns = {name: _padded([row[name] for row in rows], point) for name in ("quantity", "price", "amount")}
    return [row | {name: column[index] for name, column in columns.items()} for index, row in enumerate(rows)]


def _padded(texts: Sequence[str], point: str) -> list[str | dict[str, str]]:
    fractions = [found[1] if (found := re.search(rf"{re.escape(point)}(\d+)\D*$", text)) else "" for text in texts]
    most = max(map(len, fractions))
    padded: list[str | dict[str, str]] = []
    for text, fraction in zip(texts, fractions, strict=True):
        pad = "0" * (most - len(fraction))
        pad = pad if fraction or not pad else point + pad
        padded.append({"text": text, "pad": pad} if pad and text else text)
    return padded


def _drawable(value: Any, is_known: Callable[[str], bool]) -> Any:
    """Leave out of all texts what no font draws or what would turn others around, and let long words be broken."""
    if isinstance(value, dict):
        return {key: _drawable(each, is_known) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_drawable(each, is_known) for each in value]
    return _drawn(value, is_known) if isinstance(value, str) else value


def _drawn(text: str, is_known: Callable[[str], bool]) -> str:
    if not (text.isascii() and text.isprintable()):
        text = "".join(_character(each, is_known) for each in unicodedata.normalize("NFC", text))
    return _WORD.sub(lambda word: ZERO_WIDTH_SPACE.join(_pieces(word[0])), text)


def _character(character: str, is_known: Callable[[str], bool]) -> str:
    if character in _TURNING:
        return ""
    if unicodedata.category(character) == "Cc":
        return " " if character.isspace() else ""
    if is_known(character):
        return character
    # Such as what chooses between two forms of an emoji: nothing that is seen.
    return "" if unicodedata.category(character) in {"Cf", "Mn", "Me"} else BOX


def _pieces(word: str) -> Iterator[str]:
    for start in range(0, len(word), PIECE):
        yield word[start : start + PIECE]
