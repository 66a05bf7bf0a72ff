"""What happened to a service: what people did, and what it was billed."""

from collections.abc import Iterator

from django.urls import reverse
from django.utils.translation import gettext as _

from audit import timeline
from audit.models import Entry, reference, references
from audit.timeline import SHOWN, Event, Timeline
from catalog.models import Override, Service
from catalog.money import write
from catalog.timelines import parts_of_client, parts_of_product
from invoicing.models import DraftInvoice, Invoice, Parked
from invoicing.reasons import retold


def of_service(service: Service, *, own_page: str = "") -> Timeline:
    """Its own data, agreements, decisions, back billing, alerts, corrected usage of its tenant; invoices, drafts,
    and that it is parked."""
    return timeline.of(reference(service), *parts_of_service(service.pk), more=_billed(service), own_page=own_page)


def parts_of(about: str) -> list[str]:
    """Name what is a part of a thing, so that the audit log finds all that its timeline shows and more."""
    table, _colon, key = about.partition(":")
    known = _PARTS.get(table)
    return known(int(key)) if known and key.isascii() and key.isdigit() and len(key) < 19 else []


def parts_of_service(pk: int) -> list[str]:
    """Name the tenant of a service, and what was agreed with it."""
    tenant = Service.objects.filter(pk=pk, tenant__isnull=False).values_list("tenant_id", flat=True)
    agreed = Override.objects.filter(service_id=pk).values_list("pk", flat=True)
    return [*references("metering_tenant", tenant), *references("catalog_override", agreed)]


_PARTS = {
    "catalog_client": parts_of_client,
    "catalog_product": parts_of_product,
    "catalog_service": parts_of_service,
}


def _billed(service: Service) -> Iterator[Event]:
    documents = list(Invoice.objects.of_service(service)[:SHOWN])
    written = Entry.objects.about(*references("invoicing_invoice", [one.pk for one in documents]))
    by = {entry.key: entry.actor for entry in written.filter(table="invoicing_invoice", what=Entry.What.INSERT)}
    for one in documents:
        words = {"number": one.number, "total": write(one.total, one.currency), "who": by.get(str(one.pk), "")}
        if one.is_credit_note:
            by_hand, by_a_run = _("%(who)s credited %(total)s: %(number)s"), _("Credit note %(number)s for %(total)s")
        else:
            by_hand, by_a_run = _("%(who)s issued invoice %(number)s"), _("Invoice %(number)s issued")
        yield Event(
            at=one.created_at,
            sentence=(by_hand if words["who"] else by_a_run) % words,
            icon="file-minus" if one.is_credit_note else "file",
            note=one.reason if one.is_credit_note else words["total"],
            page=reverse("staff_invoice", args=[one.pk]),
        )
    for draft in DraftInvoice.objects.filter(service=service)[:SHOWN]:
        yield Event(
            at=draft.created_at,
            sentence=_("Draft %(number)s of its next invoice: %(total)s")
            % {"number": draft.version, "total": write(draft.total, draft.currency)},
            icon="file",
        )
    if parked := Parked.objects.filter(service=service).first():
        sentence = _("Waits for approval") if parked.needs_approval else _("Parked: no run bills it")
        yield Event(at=parked.since, sentence=sentence, icon="alert", note=retold(parked.reason), state="bad")
