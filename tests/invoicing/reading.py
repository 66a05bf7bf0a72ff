"""What an issued document says where it is no page: as a PDF and as a mail."""

from invoicing import mails, pdf
from invoicing.models import Invoice, Message
from tests.invoicing.pages import words
from tests.invoicing.pdf_text import text


def printed(document):
    """The text of the PDF of a document."""
    return text(pdf.of_invoice(Invoice.objects.select_related("credits").get(pk=document.pk)))


def mailed(document, at):
    """The text of the mail about a document as it is written at an instant, and what its HTML says."""
    mail = mails.write(Message.objects.get(invoice=document, kind="issued"), at=at)
    assert mail is not None
    return " ".join(mail.text.split()), words(type("Page", (), {"content": mail.html.encode()}))
