"""What the sample year is of: its metrics, products, prices and clients, and how the usage of each service goes."""

from dataclasses import dataclass, field
from datetime import date
from zlib import crc32

from catalog.aggregation import Aggregation
from catalog.pricing import Notation, Scheme

MARK = "(sample data)"
#: How far back usage goes, in days; prices apply from before that, and changed later.
DAYS, PRICED, CHANGED = 425, 480, 190
#: By server: system name, name, type and unit of each metric.
METRICS = {
    f"edge {MARK}": [
        ("egress", "Egress", "day", "GB"),
        ("requests", "Requests", "day", "requests"),
        ("objects", "Objects stored", "snapshot", "GB"),
    ],
    f"mail {MARK}": [
        ("mailboxes", "Mailboxes", "snapshot", "mailboxes"),
        ("mail_storage", "Mail storage", "snapshot", "GB"),
        ("messages", "Messages sent", "day", "messages"),
    ],
}
EDGE, MAIL = METRICS
CDN, STORE, POST = f"Edge delivery {MARK}", f"Object storage {MARK}", f"Mail hosting {MARK}"
#: Nobody has it, though it would be cheaper for some.
TEAM = f"Mail hosting for teams {MARK}"
#: What a product costs in a month, in dollars; and what a dollar is in the others, roughly.
PRODUCTS = {CDN: "39", STORE: "12", POST: "15", TEAM: "79"}
RATES = {"USD": "1", "EUR": "0.92", "GBP": "0.79", "CHF": "0.88", "CAD": "1.36", "JPY": "152"}


@dataclass(frozen=True)
class Price:
    """How a metric of a product is priced, in dollars: `brackets` as (start, price). `ago` is since when, in days."""

    product: str
    metric: str
    scheme: Scheme
    included: str
    brackets: tuple[tuple[str, str], ...]
    notation: Notation = Notation.ABOVE
    package: str = "1"
    minimum: str = ""
    aggregation: Aggregation = Aggregation.LATEST
    ago: int = PRICED
    reason: str = "The sample year begins."


PRICES = [
    Price(CDN, "egress", Scheme.GRADUATED, "1000", (("0", "0.085"), ("2000", "0.07"), ("5000", "0.05"))),
    Price(CDN, "requests", Scheme.PACKAGE, "5000000", (("0", "0.65"),), Notation.FIRST_UNIT, package="1000000"),
    Price(CDN, "objects", Scheme.VOLUME, "100", (("0", "0.03"), ("250", "0.025"), ("1000", "0.02"))),
    Price(STORE, "objects", Scheme.GRADUATED, "250", (("0", "0.023"), ("1000", "0.019")), aggregation=Aggregation.MEAN),
    Price(STORE, "egress", Scheme.PER_UNIT, "100", (("0", "0.06"),)),
    Price(
        POST, "mailboxes", Scheme.VOLUME, "10", (("0", "1.80"), ("25", "1.50"), ("100", "1.20")), Notation.FIRST_UNIT
    ),
    Price(POST, "mail_storage", Scheme.PER_UNIT, "25", (("0", "0.12"),), minimum="2"),
    Price(POST, "messages", Scheme.PACKAGE, "10000", (("0", "0.90"),), Notation.FIRST_UNIT, package="10000"),
    Price(TEAM, "mailboxes", Scheme.PER_UNIT, "75", (("0", "1.10"),), Notation.FIRST_UNIT),
    Price(TEAM, "mail_storage", Scheme.PER_UNIT, "250", (("0", "0.10"),)),
    Price(TEAM, "messages", Scheme.PACKAGE, "150000", (("0", "0.80"),), Notation.FIRST_UNIT, package="10000"),
    Price(
        CDN,
        "egress",
        Scheme.GRADUATED,
        "1000",
        (("0", "0.075"), ("2000", "0.06"), ("5000", "0.04")),
        ago=CHANGED,
        reason="Transit became cheaper.",
    ),
    Price(
        POST,
        "mailboxes",
        Scheme.VOLUME,
        "10",
        (("0", "2"), ("25", "1.65"), ("100", "1.30")),
        Notation.FIRST_UNIT,
        ago=CHANGED,
        reason="The first change in four years.",
    ),
]

#: Currency, language, mail address and address of clients who have nothing but sample data.
BOOKBINDERS = (
    "The Worshipful Society of Hand Bookbinders, Letterpress Printers and Paper Marblers of the Northern Counties"
)
CLIENTS = {
    "Bergmann Logistik GmbH": ("EUR", "de", "rechnung@bergmann.test", "Speicherstraße 41\n28195 Bremen\nGermany"),
    "Maison Laurent": ("EUR", "fr", "compta@laurent.test", "8 rue des Tisserands\n69001 Lyon\nFrance"),
    "Cooperativa Olivar del Sur": ("EUR", "es", "facturas@olivar.test", "Calle Almazara 15\n23700 Linares\nSpain"),
    "Tanaka Woodworks": ("JPY", "", "office@tanaka.test", "4-12 Kajimachi\nTakayama 506-0000\nJapan"),
    "Alpenblick Ferienwohnungen": ("CHF", "de", "post@alpenblick.test", "Dorfstrasse 3\n3818 Grindelwald\nSwitzerland"),
    "Fernleigh Community Radio": (
        "GBP",
        "",
        "treasurer@fernleigh.test",
        "The Old Exchange\nFernleigh LA9 0ZZ\nUnited Kingdom",
    ),
    "Oak & Ember Roasters": ("USD", "", "books@oakember.test", "77 Foundry Lane\nAsheville, NC 28801\nUSA"),
    "Prairie Sky Telehealth": ("CAD", "", "ap@prairiesky.test", "210 Elevator Road\nSaskatoon SK S7K 0A1\nCanada"),
    "Kaimana Surf School": ("USD", "", "aloha@kaimana.test", "5 Makai Place\nHaleiwa, HI 96712\nUSA"),
    BOOKBINDERS: ("GBP", "", "", "Marbler's Yard\nHexham NE46 0ZZ\nUnited Kingdom"),
}


@dataclass(frozen=True)
class Shape:
    """How a metric goes: from `first`, `growth` times as much a year later, with so much of it at weekends, moving by
    `noise`. `events` multiply it, as (from days ago, to days ago, factor); 0 as the last of them is the end."""

    first: float
    growth: float = 1.0
    weekend: float = 1.0
    noise: float = 0.15
    events: tuple[tuple[int, int, float], ...] = ()
    #: What is gone on that day and grows anew from there, in days ago.
    emptied: int | None = None

    def on(self, name: str, day: date, last: date) -> float:
        """The value of a day, of a year that ended with `last`."""
        ago = (last - day).days
        chance = crc32(f"{name} {day}".encode()) / 2**32
        value: float = self.first * self.growth ** ((DAYS - ago) / 365)
        value *= 1 + self.noise * (2 * chance - 1)
        if day.weekday() >= 5:
            value *= self.weekend
        for begin, end, factor in self.events:
            if begin >= ago > end:
                value *= factor
        if self.emptied is not None and ago <= self.emptied:
            value *= (self.emptied - ago) / DAYS
        return value


@dataclass(frozen=True)
class Plan:
    """A service, or a tenant that nobody has: what it uses, and since and until when, in days ago. `is_early` ones
    renewed nineteen days ago or a little before, the others eleven."""

    tenant: str
    client: str
    product: str
    is_early: bool = True
    started: int = DAYS
    ended: int | None = None
    suspended: int | None = None
    shapes: dict[str, Shape] = field(default_factory=dict)

    @property
    def server(self) -> str:
        return MAIL if self.product == POST else EDGE


def _edge(egress: Shape, requests: float, objects: Shape) -> dict[str, Shape]:
    """Requests go with what is delivered."""
    asked = Shape(egress.first * requests, egress.growth, egress.weekend, egress.noise + 0.05, egress.events)
    return {"egress": egress, "requests": asked, "objects": objects}


def _level(first: float, growth: float = 1.0, **more: object) -> Shape:
    return Shape(first, growth, noise=0.004, **more)  # type: ignore[arg-type]


def _mail(boxes: Shape, storage: Shape, messages: Shape) -> dict[str, Shape]:
    return {"mailboxes": boxes, "mail_storage": storage, "messages": messages}


def _boxes(first: float, growth: float = 1.0, **more: object) -> Shape:
    return Shape(first, growth, noise=0, **more)  # type: ignore[arg-type]


FIRST = "Lindqvist & Moe"
PLANS = [
    Plan("shop.lindqvist.test", FIRST, CDN, shapes=_edge(Shape(21.5, 1.5, 1.25), 8_000, _level(120, 1.6))),
    Plan("lindqvist.test", FIRST, POST, False, shapes=_mail(_boxes(14, 1.5), _level(31, 1.7), Shape(640, 1.2, 0.2))),
    Plan(
        "tracking.bergmann.test",
        "Bergmann Logistik GmbH",
        CDN,
        False,
        shapes=_edge(Shape(62, 1.45, 0.35, 0.1), 21_000, _level(85, 1.2)),
    ),
    Plan(
        "bergmann.test",
        "Bergmann Logistik GmbH",
        POST,
        shapes=_mail(_boxes(46, 1.25), _level(160, 1.4), Shape(3_100, 1.15, 0.1)),
    ),
    Plan(
        "boutique.laurent.test",
        "Maison Laurent",
        CDN,
        shapes=_edge(Shape(27, 1.2, 1.1, 0.2, ((345, 325, 2.6), (150, 140, 1.7))), 9_500, _level(210, 1.1)),
    ),
    Plan(
        "lookbook.laurent.test",
        "Maison Laurent",
        CDN,
        False,
        started=310,
        shapes=_edge(Shape(9, 1.0, 1.3, 0.3, ((90, 60, 0.3),)), 3_000, Shape(620, noise=0.004, emptied=100)),
    ),
    Plan("laurent.test", "Maison Laurent", POST, shapes=_mail(_boxes(18), _level(52, 1.3), Shape(780, 1.1, 0.3))),
    Plan(
        "tienda.olivar.test",
        "Cooperativa Olivar del Sur",
        CDN,
        shapes=_edge(Shape(44, 1.1, 0.9, 0.18, ((118, -9_999, 0.35),)), 6_000, _level(96)),
    ),
    Plan(
        "olivar.test",
        "Cooperativa Olivar del Sur",
        POST,
        False,
        started=215,
        shapes=_mail(_boxes(11, 1.3), _level(14, 2.4), Shape(420, 1.3, 0.15)),
    ),
    Plan(
        "gallery.tanaka.test",
        "Tanaka Woodworks",
        CDN,
        shapes=_edge(Shape(13, 1.05, 1.5, 0.25), 2_400, _level(330, 1.15)),
    ),
    Plan(
        "originals-tanaka",
        "Tanaka Woodworks",
        STORE,
        False,
        shapes={"objects": _level(680, 1.6), "egress": Shape(2.5, 1, 1, 0.6)},
    ),
    Plan(
        "www.alpenblick.test",
        "Alpenblick Ferienwohnungen",
        CDN,
        False,
        suspended=26,
        shapes=_edge(Shape(21, 0.8, 1.4, 0.2, ((26, -9_999, 0.01),)), 5_500, _level(75)),
    ),
    Plan(
        "alpenblick.test",
        "Alpenblick Ferienwohnungen",
        POST,
        shapes=_mail(_boxes(6), _level(19, 1.2), Shape(150, 1, 0.8)),
    ),
    Plan(
        "stream.fernleigh.test",
        "Fernleigh Community Radio",
        CDN,
        shapes=_edge(Shape(88, 1.3, 1.6, 0.12, ((64, 61, 4.5),)), 1_400, _level(140, 1.9)),
    ),
    Plan(
        "fernleigh.test",
        "Fernleigh Community Radio",
        POST,
        False,
        shapes=_mail(_boxes(9, 1.1, events=((130, -9_999, 3),)), _level(12, 1.5), Shape(210, 1.2, 0.9)),
    ),
    Plan(
        "shop.oakember.test",
        "Oak & Ember Roasters",
        CDN,
        started=190,
        shapes=_edge(Shape(11, 3.4, 1.1, 0.2), 11_000, _level(40, 1.8)),
    ),
    Plan(
        "clinic.prairiesky.test",
        "Prairie Sky Telehealth",
        CDN,
        False,
        shapes=_edge(Shape(34, 2.3, 0.15, 0.08), 30_000, _level(410, 1.7)),
    ),
    Plan(
        "prairiesky.test",
        "Prairie Sky Telehealth",
        POST,
        shapes=_mail(_boxes(94, 1.4), _level(240, 1.5), Shape(5_200, 1.4, 0.05)),
    ),
    Plan(
        "livecam.kaimana.test",
        "Kaimana Surf School",
        CDN,
        ended=52,
        shapes=_edge(Shape(64, 0.75, 1.35, 0.2), 2_000, _level(20)),
    ),
    Plan(
        "kaimana.test",
        "Kaimana Surf School",
        POST,
        False,
        started=240,
        shapes=_mail(_boxes(4), _level(6, 1.3), Shape(60, 1, 0.7)),
    ),
    Plan(
        "archive-bookbinders",
        BOOKBINDERS,
        STORE,
        shapes={"objects": _level(1_900, 1.35), "egress": Shape(4, 1.2, 0.5, 0.7, ((210, 205, 9),))},
    ),
    Plan("bookbinders.test", BOOKBINDERS, POST, False, shapes=_mail(_boxes(5), _level(21, 1.1), Shape(90, 1, 0.4))),
    Plan(
        "lake-harbour",
        "Harbour Analytics",
        STORE,
        started=280,
        shapes={"objects": Shape(900, 2.1, noise=0.01, events=((95, -9_999, 0.6),)), "egress": Shape(5, 1.3, 0.4, 0.5)},
    ),
    Plan("press-preview", "", CDN, started=52, shapes=_edge(Shape(2, 1, 0.6, 0.4), 900, _level(8))),
]
#: Who was agreed more with, and since when, in days ago.
AGREED, AGREED_SINCE = "tracking.bergmann.test", 160
#: Whose invoice was credited in part, and how long ago; who owes an invoice, and who paid a part of one.
CREDITED, CREDITED_AGO = "stream.fernleigh.test", 50
LATE, PARTLY = "Oak & Ember Roasters", "Prairie Sky Telehealth"
