"""Documents as PDF: tagged, PDF/A-2a and PDF/UA-1, set by Typst from a template of our own.

The template gets texts as JSON and never as source, reads no other file, and no fonts but those beside it and in
`PDF_FONTS`. The same document always makes the same bytes, so none is kept.
"""

import json
from datetime import UTC, datetime, time
from functools import cache
from pathlib import Path

import typst
from django.conf import settings
from django.http import HttpResponse
from django.utils import translation
from django.utils.http import content_disposition_header

from invoicing import printed, proof
from invoicing.glyphs import Glyphs
from invoicing.models import Invoice

TEMPLATE = Path(__file__).parent / "typst" / "invoice.typ"


class CannotPrint(Exception):
    """The PDF could not be made. The message is Typst's, for the log."""


def of_invoice(invoice: Invoice) -> bytes:
    """Return the PDF of a document, fetched with what it credits, in five queries for any number of lines.

    Raises CannotPrint.
    """
    return render(said_of(invoice), datetime.combine(invoice.issued_on, time.min, UTC))


def said_of(invoice: Invoice) -> dict[str, object]:
    """Return what the PDF of a document says, as `printed.contents` does, in the language of the document."""
    lines = proof.with_sources(invoice.lines.all())
    # Whoever may see a document may see what it refers to, which is the same client's.
    proofs = proof.of_lines(list(lines), Invoice.objects.filter(client=invoice.client_id))
    with translation.override(invoice.buyer.get("language", "en")):
        return printed.contents(invoice, proofs, _glyphs(settings.PDF_FONTS).__contains__)


def download(invoice: Invoice) -> HttpResponse:
    """Answer with the PDF of a document, to be saved under its number. Raises CannotPrint."""
    name = content_disposition_header(as_attachment=True, filename=f"{invoice.number}.pdf")
    return HttpResponse(of_invoice(invoice), "application/pdf", headers={"Content-Disposition": name or ""})


def render(said: dict[str, object], at: datetime) -> bytes:
    """Set what `printed.contents` says. Raises CannotPrint."""
    try:
        return _bytes(compiler(said).compile(format="pdf", pdf_standards=["a-2a", "ua-1"], timestamp=at))
    except RuntimeError as error:
        raise CannotPrint(getattr(error, "diagnostic", str(error))) from error


def compiler(said: dict[str, object]) -> typst.Compiler:
    """Return what sets a document: with our template and fonts, and nothing else of the machine."""
    return typst.Compiler(
        TEMPLATE,
        root=TEMPLATE.parent,
        font_paths=_fonts(settings.PDF_FONTS),
        sys_inputs={"document": json.dumps(said)},
    )


def _bytes(made: bytes | list[bytes] | None) -> bytes:
    assert isinstance(made, bytes)  # one file, for it is not written to a path
    return made


def check_fonts(own: str) -> None:
    """Raise OSError for a folder of fonts that is not there, ValueError for one that has a file that is no font."""
    if own and not Path(own).is_dir():
        raise NotADirectoryError("that is no folder")
    for file in _files([Path(own)] if own else []):
        try:
            Glyphs([file])
        except ValueError as error:
            raise ValueError(f"{file.name} {error}") from error


def _folders(own: str) -> list[Path]:
    return [TEMPLATE.parent / "fonts", *([Path(own)] if own else [])]


@cache
def _fonts(own: str) -> typst.Fonts:
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=_folders(own))


@cache
def _glyphs(own: str) -> Glyphs:
    return Glyphs(_files(_folders(own)))


def _files(folders: list[Path]) -> list[Path]:
    files = (file for folder in folders for file in sorted(folder.rglob("*")))
    return [file for file in files if file.suffix.lower() in {".otf", ".ttf", ".ttc", ".otc"}]
