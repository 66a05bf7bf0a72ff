"""The PDF of a document: what it says, how it is tagged and kept, and who gets it."""

import hashlib
from decimal import Decimal
from io import BytesIO
from uuid import uuid4

import pikepdf
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog.models import Service
from catalog.pricing import Bracket, Notation, Pricing, Scheme
from invoicing import pdf, printed
from invoicing.models import Invoice, Line
from tests.builders import (
    EMAILS,
    TRAFFIC,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    a_user,
)
from tests.invoicing.documents import fee, given_back, issued, usage
from tests.invoicing.pages import allow, words
from tests.invoicing.pdf_text import pages, text

pytestmark = pytest.mark.django_db
#: 10 GB included, then $2.00 and above 20 GB $0.50.
TIERS = Pricing(
    Scheme.GRADUATED,
    (Bracket(Decimal(0), Decimal(2)), Bracket(Decimal(20), Decimal("0.5"))),
    included=Decimal(10),
    notation=Notation.ABOVE,
)
SELLER = {
    "name": "Northquay Hosting Inc.",
    "address": "14 Wharf Street\nPortland, ME 04101",
    "tax_number": "US-55-1234567",
    "note": "Reverse charge: the recipient owes the tax.",
}


@pytest.fixture
def sara():
    return a_user("sara@client.test")


@pytest.fixture
def service(sara):
    tenant = a_tenant(a_server(), "lindqvistmoe.example")
    return a_service(a_product(), a_client(users=(sara,)), tenant)


def copies(service, language="en", **values):
    """Seller and buyer as they are copied at issue."""
    client = service.client
    buyer = {
        "name": client.name,
        "address": "Sjøgata 6\n9008 Tromsø",
        "tax_number": "NO 998 877 665 MVA",
        "language": language,
        "services": {str(each.pk): each.name for each in Service.objects.filter(client=client)},
    }
    return {"seller": SELLER, "buyer": buyer | values}


def an_invoice(service, *lines, **values):
    lines = lines or (fee(service), usage(service, a_setting(service.product, TRAFFIC), ("2026-10-01", "16.37")))
    return issued(service.client, *lines, **(copies(service) | values))


def says(invoice):
    return text(pdf.of_invoice(Invoice.objects.get(pk=invoice.pk)))


def test_it_has_all_that_the_law_asks_of_an_invoice(service):
    said = says(an_invoice(service))
    for part in [
        "Invoice 2026-00001",
        "Issued 1 November 2026 Payable by 15 November 2026 Currency US Dollar (USD)",
        "From Northquay Hosting Inc. 14 Wharf Street Portland, ME 04101 Tax number US-55-1234567",
        "To Lindqvist & Moe Sjøgata 6 9008 Tromsø Tax number NO 998 877 665 MVA",
        "1 Business Web lindqvistmoe.example, 1 November to 1 December 2026 1 $24.00 $24.00",
        "lindqvistmoe.example, 1 October to 1 November 2026 as measured 16.37 GB $1.00 $16.37",
        "Total $40.37",
        "Reverse charge: the recipient owes the tax.",
        "Page 1 of 1",
    ]:
        assert part in said


def test_a_line_shows_the_steps_of_its_amount_with_their_exact_amounts(service):
    setting = a_setting(service.product, TRAFFIC)
    said = says(an_invoice(service, usage(service, setting, ("2026-10-01", "26.37"), pricing=TIERS)))
    assert "26.37 GB $23.19 Included 10" in said
    assert "Above 10 to 20 10" in said
    assert "$2.00 $20.00" in said
    assert "Above 20 to 26.37 6.37 $0.50 $3.185" in said
    assert "Together, before it is rounded once $23.185" in said


def test_steps_are_not_said_twice(service):
    """The sentence of a line that says what its steps say is left out; what it says besides stays."""
    setting = a_setting(service.product, TRAFFIC)
    sentence = "26.37 GB: 10 included, 10 at $2.00, 6.37 at $0.50"
    line = usage(service, setting, ("2026-10-01", "26.37"), pricing=TIERS, detail=f"{sentence}; agreed with Ines")
    said = says(an_invoice(service, line))
    assert "at $2.00" not in said
    assert "agreed with Ines" in said


def test_periods_that_were_each_rated_by_itself_are_named(service):
    setting = a_setting(service.product, EMAILS)
    days = [(f"2026-10-{day:02}", str(day)) for day in range(9, 13)]
    said = says(an_invoice(service, usage(service, setting, *days, pricing=TIERS, each=True)))
    assert "11 October 2026 11 emails $2.00 Included 10 $0.00" in said
    assert "2 more periods, nothing to charge" in said


def test_it_does_not_state_what_became_of_it(service):
    """Not a credit note, not a correction, not a payment: the document is what was issued."""
    invoice = an_invoice(service)
    before = pdf.of_invoice(invoice)
    issued(service.client, given_back(invoice.lines.get(position=1), "4"), credits=invoice, **copies(service))
    assert pdf.of_invoice(Invoice.objects.with_credited().get(pk=invoice.pk)) == before


def test_it_stays_the_same_when_everything_is_renamed(service, settings):
    invoice = an_invoice(service)
    before = pdf.of_invoice(invoice)
    service.name = service.client.name = service.product.name = "Other"
    service.client.address, service.client.language = "Elsewhere", "de"
    for each in (service, service.client, service.product):
        each.save()
    metric = invoice.lines.get(position=2).setting.metric
    metric.display_name, metric.unit_plural = "Other", "others"
    metric.save()
    settings.SELLER_NAME = settings.SELLER_NOTE = "Other"
    assert pdf.of_invoice(Invoice.objects.get(pk=invoice.pk)) == before


def test_documents_from_before_tax_numbers_were_copied_have_their_pdf(service):
    said = says(an_invoice(service, seller={"name": "Northquay", "address": ""}, buyer={"name": "Moe", "address": ""}))
    assert "From Northquay To Moe Details Issued" in said
    assert "lindqvistmoe.example, 1 October to 1 November 2026" in said
    assert "Tax number" not in said


def test_a_credit_note_names_the_invoice_that_it_credits(service):
    invoice = an_invoice(service)
    credit = given_back(invoice.lines.get(position=1), "4")
    credit.line.detail = "Your site was down."
    note = issued(
        service.client, credit, credits=invoice, reason="Down for a day.", when="2026-11-05 07:00", **copies(service)
    )
    said = says(note)
    assert "Credit note C2026-00001" in said
    assert "Credits invoice 2026-00001 of 1 November 2026. Down for a day." in said
    assert "Gives back “Business Web”, line 1 of 2026-00001. −$4.00" in said
    assert "Given back $4.00" in said
    assert "Payable by" not in said


def test_a_replacement_says_what_it_replaces(service):
    first = an_invoice(service)
    again = an_invoice(
        service, fee(service), kind=Invoice.Kind.REPLACEMENT, reason=f"Replaces {first.number}. Wrong price."
    )
    assert "Replaces 2026-00001. Wrong price." in says(again)


def test_a_correction_names_its_period_and_both_quantities(service):
    setting = a_setting(service.product, TRAFFIC)
    first = an_invoice(service, usage(service, setting, ("2026-10-01", "16.37")))
    corrected = usage(
        service,
        setting,
        ("2026-10-01", "17.05"),
        kind=Line.Kind.ADJUSTMENT,
        corrects=first.lines.get(),
        before=Decimal("16.37"),
        settled=Decimal("16.37"),
        amount=Decimal("0.68"),
        revision=1,
    )
    said = says(an_invoice(service, corrected))
    assert "1 October to 1 November 2026" in said
    assert "Corrects “Bandwidth, 2026-10-01”, line 1 of 2026-00001." in said
    assert "+0.68 GB $0.68" in said
    assert "Now 17.05 GB $17.05 As it was billed before 16.37 GB $16.37" in said
    assert "Difference +0.68 GB +$0.68" in said


@pytest.mark.parametrize(("currency", "total"), [("JPY", "¥40"), ("BHD", "40.370")])
def test_amounts_have_the_decimals_of_their_currency(sara, currency, total):
    service = a_service(a_product(currency=currency), a_client(currency=currency, users=(sara,)), a_tenant(a_server()))
    said = says(an_invoice(service))
    assert f"{total} Reverse charge" in said
    assert f"{total}." not in said


def test_tiny_prices_keep_all_their_decimals_and_stand_below_each_other():
    rows = [printed._row("", "10", "$0.000000000012"), printed._row("", "6.37", "$2.00"), printed._row("")]
    quantities = [row["quantity"] for row in printed._aligned(rows)]
    assert quantities == [{"text": "10", "pad": ".00"}, "6.37", ""]
    assert [row["price"] for row in printed._aligned(rows)][1] == {"text": "$2.00", "pad": "0" * 10}


def test_numbers_and_dates_are_written_in_the_language_of_the_document(service):
    said = says(an_invoice(service, **copies(service, language="de"))).replace("\xa0", " ")
    assert "15. November 2026" in said
    assert "40,37 $" in said


def test_words_are_written_in_the_language_of_the_document(service, monkeypatch):
    languages = set()

    def translated(text):
        languages.add(printed.get_language())
        return f"«{text}»"

    monkeypatch.setattr(printed, "_", translated)
    monkeypatch.setattr(printed, "pgettext", lambda _context, text: translated(text))
    said = says(an_invoice(service, **copies(service, language="fr")))
    assert languages == {"fr"}
    for label in ("From", "To", "Issued", "Description", "Quantity", "Unit price", "Total", "Invoice 2026-00001"):
        assert f"«{label}»" in said


def test_many_lines_take_many_pages_each_with_the_head_of_the_table(service):
    lines = [fee(service) for _ in range(100)]
    found = pages(pdf.of_invoice(an_invoice(service, *lines)))
    assert len(found) > 3
    for number, page in enumerate(found[:-1], start=1):
        assert "No. Description Quantity Unit price Amount" in page
        assert f"Page {number} of {len(found)}" in page
    assert found[1].startswith("Invoice 2026-00001 Northquay Hosting Inc.")
    assert "Total $2,400.00" in found[-1]


@pytest.mark.parametrize("before", range(1, 6))
def test_a_line_stands_with_its_steps_on_one_page(service, before):
    """Wherever the page ends."""
    setting = a_setting(service.product, TRAFFIC)
    lines = [usage(service, setting, (f"20{year}-10-01", "26.37"), pricing=TIERS) for year in range(10, 40)]
    found = pages(pdf.of_invoice(an_invoice(service, *(fee(service) for _ in range(before)), *lines)))
    assert len(found) > 2
    for page in found:
        assert page.count("26.37 GB") == page.count("Included 10") == page.count("rounded once")


def test_it_is_tagged_and_can_be_kept(service):
    with pikepdf.open(BytesIO(pdf.of_invoice(an_invoice(service, **copies(service, language="de"))))) as document:
        root, info = document.Root, document.open_metadata()
        assert root.MarkInfo.Marked
        assert str(root.Lang) == "de"
        assert root.ViewerPreferences.DisplayDocTitle
        assert (info["pdfaid:part"], info["pdfaid:conformance"], info["pdfuaid:part"]) == ("2", "A", "1")
        assert info["dc:title"] == "Rechnung 2026-00001"
        assert root.OutputIntents[0].S == "/GTS_PDFA1"
        assert root.OutputIntents[0].DestOutputProfile.read_bytes()
        kinds = set(_kinds(root.StructTreeRoot))
        assert {"/H1", "/H2", "/Table", "/TR", "/TH", "/TD", "/THead"} <= kinds
        for font in _fonts(document):
            descriptor = font.DescendantFonts[0].FontDescriptor
            assert {"/FontFile2", "/FontFile3"} & set(descriptor.keys())
            assert "/ToUnicode" in font


def test_it_leads_nowhere_and_does_nothing(service):
    with pikepdf.open(BytesIO(pdf.of_invoice(an_invoice(service)))) as document:
        keys = {key for each in document.objects if isinstance(each, pikepdf.Dictionary) for key in each}
    assert not keys & {"/URI", "/JS", "/JavaScript", "/OpenAction", "/AA", "/EmbeddedFiles", "/AcroForm", "/Launch"}


def _kinds(element):
    children = element.get("/K", [])
    for child in children if isinstance(children, pikepdf.Array) else [children]:
        if isinstance(child, pikepdf.Dictionary) and "/S" in child:
            yield str(child.S)
            yield from _kinds(child)


def _fonts(document):
    return [font for page in document.pages for font in page.Resources.Font.values()]


def test_the_same_document_always_makes_the_same_bytes(service):
    invoice = an_invoice(service)
    made = {hashlib.sha256(pdf.of_invoice(Invoice.objects.get(pk=invoice.pk))).hexdigest() for _ in range(3)}
    assert len(made) == 1


def test_many_lines_take_no_more_queries(service):
    few = an_invoice(service)
    more = an_invoice(service, *(fee(service) for _ in range(50)))
    counts = []
    for invoice in (few, more):
        one = Invoice.objects.select_related("credits").get(pk=invoice.pk)
        with CaptureQueriesContext(connection) as queries:
            pdf.of_invoice(one)
        counts.append(len(queries))
    assert max(counts) <= 4
    assert len(set(counts)) == 1


def got(client, user, name, invoice):
    client.force_login(user)
    return client.get(reverse(name, args=[invoice if not isinstance(invoice, Invoice) else invoice.pk]))


@pytest.mark.parametrize("area", ["portal", "staff"])
def test_it_is_sent_to_be_kept_by_a_person_and_by_nobody_else(client, service, sara, area):
    invoice = an_invoice(service)
    response = got(client, sara if area == "portal" else a_staff_user(), f"{area}_invoice_pdf", invoice)
    assert response.status_code == 200
    assert response.content.startswith(b"%PDF-1.7")
    assert response["Content-Type"] == "application/pdf"
    assert response["Content-Disposition"] == 'attachment; filename="2026-00001.pdf"'
    assert "no-store" in response["Cache-Control"]


def test_a_document_of_another_client_does_not_exist(client, service):
    invoice = an_invoice(service)
    other = a_user("omar@other.test")
    a_client("Other", users=(other,))
    theirs, nobodys = (got(client, other, "portal_invoice_pdf", each) for each in (invoice, uuid4()))
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.content == nobodys.content


def test_staff_need_the_right_to_see_invoices(client, service):
    invoice, ines = an_invoice(service), a_user("ines@staff.test", is_staff=True)
    assert got(client, ines, "staff_invoice_pdf", invoice).status_code == 403
    allow(ines, "view_invoice")
    assert got(client, ines, "staff_invoice_pdf", invoice).status_code == 200


def test_nobody_gets_it_without_a_login_and_nothing_is_posted_to_it(client, service, sara):
    address = reverse("portal_invoice_pdf", args=[an_invoice(service).pk])
    assert client.get(address).status_code == 302
    client.force_login(sara)
    assert client.post(address).status_code == 405


@pytest.mark.parametrize("area", ["portal", "staff"])
def test_the_page_of_an_invoice_leads_to_it(client, service, sara, area):
    invoice = an_invoice(service)
    page = got(client, sara if area == "portal" else a_staff_user(), f"{area}_invoice", invoice)
    assert reverse(f"{area}_invoice_pdf", args=[invoice.pk]) in page.content.decode()


@pytest.mark.parametrize("area", ["portal", "staff"])
def test_when_it_cannot_be_made_a_page_says_so(client, service, sara, area, tmp_path, monkeypatch, caplog):
    invoice = an_invoice(service)
    (tmp_path / "invoice.typ").write_text("#panic()")
    monkeypatch.setattr(pdf, "TEMPLATE", tmp_path / "invoice.typ")
    response = got(client, sara if area == "portal" else a_staff_user(), f"{area}_invoice_pdf", invoice)
    assert response.status_code == 503
    assert "The PDF could not be made" in words(response)
    assert reverse(f"{area}_invoice", args=[invoice.pk]) in response.content.decode()
    assert "panic" in caplog.text


def test_the_fonts_are_those_that_were_checked():
    folder = pdf.TEMPLATE.parent / "fonts"
    sums = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text().splitlines())
    fonts = {file.name: file for file in folder.iterdir() if file.suffix in {".otf", ".ttf", ".ttc"}}
    assert sums.keys() == fonts.keys()
    for name, file in fonts.items():
        assert hashlib.sha256(file.read_bytes()).hexdigest() == sums[name]
