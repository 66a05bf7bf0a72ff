"""A reason is kept in English, and said again in the language of who reads it."""

from datetime import date

import pytest
from django.utils.translation import override

from invoicing import reasons
from invoicing.reasons import retold


@pytest.mark.parametrize(
    ("kept", "english", "german"),
    [
        (
            reasons.NO_CYCLE_PRICE % {"product": "File storage", "per_cycle": "per month", "currency": "GBP"},
            "File storage has no price per month in GBP. Add it to the prices of the product.",
            "File storage hat keinen Preis pro Monat in GBP. Ergänzen Sie ihn bei den Preisen des Produkts.",
        ),
        (
            reasons.NOT_READ % {"day": date(2026, 11, 1)},
            "not read since the period ended on 1 November 2026",
            "nicht mehr gelesen, seit der Zeitraum am 1. November 2026 endete",
        ),
        (
            "It comes to $1,234.50; more than $1,000.00 waits for approval.",
            "It comes to $1,234.50; more than $1,000.00 waits for approval.",
            "Der Betrag ist 1.234,50\N{NO-BREAK SPACE}$; mehr als 1.000,00\N{NO-BREAK SPACE}$ wartet auf Genehmigung.",
        ),
        (
            "10 terms are due, the first since 1 February 2026; more than 6 are not billed without approval.",
            "10 terms are due, the first since 1 February 2026; more than 6 are not billed without approval.",
            "10 Laufzeiten sind fällig, die erste seit 1. Februar 2026; mehr als 6 werden nicht ohne Genehmigung"
            " abgerechnet.",
        ),
        (
            reasons.BUYER_LACKS % {"words": "address and tax number", "client": "Lindqvist & Moe"},
            "Invoices must state the client’s address and tax number. Add it to Lindqvist & Moe, and bill it again.",
            None,
        ),
        (reasons.HELD_FOR % {"said": "they dispute it"}, "Held: they dispute it", "Zurückgehalten: they dispute it"),
        ("panel-01 did not answer", "panel-01 did not answer", "panel-01 did not answer"),
    ],
)
def test_a_reason_is_said_in_the_language_of_the_reader(kept: str, english: str, german: str | None) -> None:
    with override("en"):
        assert retold(kept) == english
    with override("de"):
        assert retold(kept) == german if german else retold(kept) != kept


def test_a_reason_within_another_is_said_again_too() -> None:
    inner = reasons.NO_PRICE % {
        "currency": "EUR", "metric": "Mailboxes", "product": "Business Web", "day": date(2026, 11, 1)
    }  # fmt: skip
    with override("de"):
        assert retold(reasons.LAST_INVOICE_WAITS % {"reason": inner}).endswith(retold(inner))
        assert "Mailboxes" not in retold(inner)
        assert "1. November 2026" in retold(inner)


def test_every_sentence_is_found_again_whatever_its_names_are() -> None:
    odd = "a (b) of %(c)s. [d] in \N{SNOWMAN}"
    for sentence in reasons._SENTENCES:
        names = dict.fromkeys(("product", "currency", "problem", "sum", "client", "said", "service", "per_cycle"), odd)
        names |= {"metric": odd, "words": "address", "settings": "SELLER_ADDRESS", "day": date(2026, 11, 1)}
        names |= {"amount": "$12.00", "most": "$11.00", "last": "$1.00", "factor": "3", "reason": odd}
        with override(None):
            kept = sentence % names
        with override("de"):
            assert retold(kept) != kept, sentence


@pytest.mark.parametrize(
    "said",
    [
        "not measured since yesterday",
        "not measured since 2026-99-99",
        "not read since the period ended on 31 Foo 2026",
        "many terms are due, the first since 1 May 2026; more than 6 are not billed without approval.",
        "It comes to foo 12; more than , waits for approval.",
    ],
)
def test_words_that_only_look_like_a_reason_break_no_page(said: str) -> None:
    with override("de"):
        assert retold(said)
