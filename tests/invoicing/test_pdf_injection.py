"""Group S9 of the reliability catalogue: names are printed as they are, and are no markup, address or file."""

import re

import pytest
from pytest_httpserver import HTTPServer

from invoicing import pdf
from invoicing.glyphs import Glyphs
from tests.builders import a_client, a_product, a_server, a_service, a_tenant
from tests.invoicing.documents import fee, issued
from tests.invoicing.pdf_text import heights_of, pages, text

pytestmark = pytest.mark.django_db
AWKWARD = [
    '#import("/etc/passwd")',
    '#read("/etc/passwd")',
    '#image("/etc/passwd")',
    "$x$ *bold* _it_ `raw`",
    "= Heading @label <label>",
    r"\u{41} \ // comment /* no */",
    "<img src=x> & <script>",
    "]#panic()[",
    '"}; {"lines": []}',
]


def printed(name="Lindqvist & Moe", product="Business Web", key="alice", **values):
    """The PDF of an invoice whose client, product and tenant are called so."""
    client = a_client(name)
    service = a_service(a_product(), client, a_tenant(a_server(), key), name=key)
    line = fee(service, title=product)
    line.line.detail = f"{key}, 1 November to 1 December 2026"
    return pdf.of_invoice(issued(client, line, **values))


@pytest.mark.parametrize("name", AWKWARD)
def test_markup_in_names_is_printed_as_it_is(name):
    said = text(printed(name, product=name, key=name, reason=name))
    assert said.count(" ".join(name.split())) == 4
    assert "root:" not in said


def test_addresses_in_names_are_not_opened(httpserver: HTTPServer):
    address = httpserver.url_for("/canary")
    said = text(printed(f"#image({address})", product=f'<img src="{address}">', key=address))
    assert said.replace(" ", "").count(address) == 3
    assert httpserver.log == []


def test_the_template_reads_nothing_but_what_it_is_given():
    source = pdf.TEMPLATE.read_text()
    assert not re.search(
        r"#?(import|include|eval|plugin|link)\b|\b(read|image|csv|yaml|toml|xml|cbor)\(|@preview", source
    )


def test_what_no_font_draws_is_a_box_and_never_an_error():
    said = text(printed("Ünïcödé Ωμέγα Щука \N{THAI CHARACTER KO KAI}\N{THAI CHARACTER KHO KHAI} \N{GRINNING FACE}"))
    assert "Ünïcödé Ωμέγα Щука □□ □" in said


@pytest.mark.parametrize(
    "name", ["東京データ株式会社", "北京云计算有限公司", "한국 호스팅", "שלום", "Ευρώπη", "Україна"]
)
def test_names_in_many_scripts_have_their_letters(name):
    assert "□" not in text(printed(name))


def test_what_turns_or_hides_text_is_left_out():
    said = text(printed("Evil\N{RIGHT-TO-LEFT OVERRIDE}\x07\x1bCorp\t\N{RIGHT-TO-LEFT ISOLATE}Ltd"))
    assert "EvilCorp Ltd" in said


def test_a_word_that_is_too_long_is_broken_and_not_cut():
    key = "x" * 190 + ".example"
    made = printed("W" * 200, product="V" * 300, key=key)
    [said] = pages(made)
    for word in ("W" * 200, "V" * 300, key):
        assert word in said.replace(" ", "")
    assert len(heights_of(made, "W")) > 6
    assert len(heights_of(made, "V")) > 4


def test_what_is_no_font_says_so(tmp_path):
    (tmp_path / "a.ttf").write_bytes(b"no font")
    with pytest.raises(ValueError, match="is no OpenType or TrueType font"):
        Glyphs([tmp_path / "a.ttf"])


def test_the_operator_may_add_fonts(tmp_path, settings):
    """Each folder is read once; what is in it counts as well."""
    own = pdf.TEMPLATE.parent / "fonts" / "NotoSansHebrew-Regular.ttf"
    (tmp_path / own.name).write_bytes(own.read_bytes())
    settings.PDF_FONTS = str(tmp_path)
    assert "□" not in text(printed("שלום"))
