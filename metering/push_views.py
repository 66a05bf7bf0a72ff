"""Staff pages of servers that usage is pushed to: their keys, what was pushed lately, and importing a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from io import BytesIO
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST

from audit import timeline
from metering import formats, push_keys, pushing
from metering.access import staff
from metering.formats import Format, Unreadable
from metering.language import in_digits
from metering.models import Collection, PushKey, Server, Upload
from metering.providers import base
from metering.providers.base import Metric, ProviderError
from metering.push_forms import KeyForm, UploadForm
from metering.pushing import MAX_FILE_LINES, File, Outcome, Total
from metering.server_lock import Busy

LAST = 20
#: So many refused lines are shown before a file is imported.
SHOWN = 100


def page(request: HttpRequest, server: Server, status: int = 200, **more: Any) -> HttpResponse:
    """What is pushed to this server, by whom, and how does one push?"""
    metrics = base.declared(server.provider, server.settings)
    keys = list(server.push_keys.select_related("created_by", "revoked_by"))
    pushes = server.collections.exclude(source=Collection.Source.COLLECTION).select_related("asked_by")
    context = {
        "section": "servers",
        "server": server,
        "metrics": metrics,
        "keys": [key for key in keys if key.revoked_at is None],
        "revoked": [key for key in keys if key.revoked_at is not None],
        "pushes": list(pushes.defer("problems", "metrics")[:LAST]),
        "tenants": server.tenants.count(),
        "example": _example(metrics),
        "address": settings.SITE_ADDRESS + reverse("api:push_usage"),
        "key_form": KeyForm(server=server, metrics=metrics),
        "upload_form": UploadForm(),
        "timeline": timeline.of_server(server, own_page=reverse("staff_server", args=[server.pk])),
    }
    return render(request, "staff/push_server.html", {**context, **more}, status=status)


def _example(metrics: Sequence[Metric]) -> str:
    if not metrics:
        return ""
    return f'{{"tenant":"alice","metric":"{metrics[0].system_name}","value":"12"}}'


@require_POST
@staff("metering.add_pushkey")
def make_key(request: HttpRequest, pk: int) -> HttpResponse:
    """Make a key and show it, this once."""
    server, user = _server(pk), cast(AbstractBaseUser, request.user)
    metrics = base.declared(server.provider, server.settings)
    form = KeyForm(request.POST, server=server, metrics=metrics)
    if not form.is_valid():
        return page(request, server, key_form=form)
    key, token = push_keys.make(
        server=server,
        name=form.cleaned_data["name"],
        metrics=form.cleaned_data["metrics"],
        by=user,
        at=timezone.now(),
    )
    its_own = [metric for metric in metrics if metric.system_name in key.metrics]
    return page(request, server, made=key, token=token, example=_example(its_own or metrics))


@require_POST
@staff("metering.change_pushkey")
def revoke_key(request: HttpRequest, pk: int, key_id: int) -> HttpResponse:
    key = get_object_or_404(PushKey, pk=key_id, server=_server(pk))
    push_keys.revoke(key=key, by=cast(AbstractBaseUser, request.user), at=timezone.now())
    messages.info(request, _("The key %(key)s opens nothing any more.") % {"key": key})
    return redirect("staff_server", pk)


@require_POST
@staff("metering.add_upload")
def upload(request: HttpRequest, pk: int) -> HttpResponse:
    """Take a file in, to look at it."""
    server, now = _server(pk), timezone.now()
    form = UploadForm(request.POST, request.FILES)
    if not form.is_valid():
        return page(request, server, upload_form=form)
    file: UploadedFile[bytes] = form.cleaned_data["file"]
    content, name = file.read(), (file.name or "a file")[:255]
    kept = Upload.objects.create(
        server=server,
        name=name,
        format=form.cleaned_data["format"] or formats.guess(name, content[:1000]),
        digest=sha256(content).hexdigest(),
        content=content,
        at=now,
        by_id=cast(AbstractBaseUser, request.user).pk,
    )
    return redirect("staff_import", pk, kept.pk)


@dataclass(frozen=True, slots=True)
class Row:
    """What a file would do to a metric, in its unit; a counter has no sums."""

    total: Total
    before: Decimal | None
    after: Decimal | None


@require_http_methods(["GET", "HEAD", "POST"])
@staff("metering.add_upload")
def import_file(request: HttpRequest, pk: int, upload_id: UUID) -> HttpResponse:
    """What would this file change? And then: import it."""
    server = _server(pk)
    kept = Upload.objects.filter(pk=upload_id, server=server, by_id=request.user.pk).first()
    if kept is None:
        messages.warning(request, _("The file is not here any more: it was imported, or a day has passed."))
        return redirect("staff_server", pk)
    is_real = request.method == "POST"
    context: dict[str, Any] = {"section": "servers", "server": server, "upload": kept}
    try:
        outcome = _push(server, kept, request, is_dry=not is_real)
    except (Unreadable, ProviderError) as error:
        return render(request, "staff/import.html", {**context, "problem": str(error)})
    except Busy as error:
        messages.warning(request, str(error))
        return redirect("staff_server", pk)
    if is_real and outcome.record:
        kept.delete()
        words = ngettext(
            "%(file)s is imported: %(lines)s line stored, %(refused)s refused.",
            "%(file)s is imported: %(lines)s lines stored, %(refused)s refused.",
            outcome.stored,
        )
        told = {"lines": in_digits(f"{outcome.stored:,}"), "refused": in_digits(f"{outcome.refused:,}")}
        messages.info(request, words % {**told, "file": kept.name})
        return redirect("staff_collection", outcome.record.pk)
    context |= {
        "outcome": outcome,
        "rows": [_row(total) for total in outcome.totals.values() if total.new or total.changed or total.same],
        "refusals": outcome.results[:SHOWN],
        "earlier": pushing.imported_before(server, kept.digest),
    }
    return render(request, "staff/import.html", context)


def _push(server: Server, kept: Upload, request: HttpRequest, *, is_dry: bool) -> Outcome:
    content = bytes(kept.content)
    return pushing.push(
        server=server,
        lines=formats.read(BytesIO(content), Format(kept.format), MAX_FILE_LINES),
        at=timezone.now(),
        size=len(content),
        file=File(kept.name, kept.digest, cast(AbstractBaseUser, request.user)),
        is_dry=is_dry,
    )


def _row(total: Total) -> Row:
    if total.metric.type == base.MetricType.COUNTER:
        return Row(total, None, None)
    unit = total.metric.unit
    return Row(total, unit.from_base(total.before), unit.from_base(total.after))


def _server(pk: int) -> Server:
    server = get_object_or_404(Server.objects.defer("credentials"), pk=pk)
    if base.asks(server.provider):
        raise Http404
    return server
