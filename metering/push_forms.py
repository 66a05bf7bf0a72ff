"""The forms that make a push key, and that upload a file to import."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from metering.formats import Format
from metering.models import PushKey, Server
from metering.providers.base import Metric
from metering.pushing import MAX_FILE_BYTES

FORMATS = {
    Format.CSV: "CSV",
    Format.NDJSON: gettext_lazy("NDJSON, an object on each line"),
    Format.JSON: "JSON",
    Format.CLOUDEVENTS: gettext_lazy("CloudEvents in JSON"),
}


class KeyForm(forms.Form):
    """Who gets the key, and what it may push."""

    use_required_attribute = False

    name = forms.CharField(
        label=gettext_lazy("Who has it"),
        max_length=100,
        widget=forms.TextInput({"class": "form-control", "autocomplete": "off"}),
        error_messages={"required": gettext_lazy("Say who has it, such as shop-01.")},
    )
    metrics = forms.MultipleChoiceField(
        label=gettext_lazy("It may push"),
        required=False,
        widget=forms.CheckboxSelectMultiple({"class": "form-check-input"}),
        help_text=gettext_lazy("None chosen: all of them."),
    )

    def __init__(self, *args: Any, server: Server, metrics: Sequence[Metric], **options: Any) -> None:
        super().__init__(*args, **options)
        self.server = server
        self.fields["metrics"].choices = [(one.system_name, _(one.display_name)) for one in metrics]  # type: ignore[attr-defined]

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if PushKey.objects.usable().filter(server=self.server, name=name).exists():
            raise ValidationError(_("A key of this server has this name. Revoke it first, or choose another name."))
        return name


class UploadForm(forms.Form):
    """The file to look at before it is imported."""

    use_required_attribute = False

    file = forms.FileField(
        label=gettext_lazy("File"),
        widget=forms.ClearableFileInput({"class": "form-control", "accept": ".csv,.ndjson,.jsonl,.json,text/csv"}),
        error_messages={"required": gettext_lazy("Choose a file."), "empty": gettext_lazy("The file is empty.")},
    )
    format = forms.ChoiceField(
        label=gettext_lazy("Format"),
        required=False,
        choices=[("", gettext_lazy("As its name says")), *FORMATS.items()],
        widget=forms.Select({"class": "form-select"}),
    )

    def clean_file(self) -> "UploadedFile[bytes]":
        file: UploadedFile[bytes] = self.cleaned_data["file"]
        if (file.size or 0) > MAX_FILE_BYTES:
            most = MAX_FILE_BYTES // 2**20
            raise ValidationError(
                _("The file is larger than %(most)s MiB. Split it, or use the command import_usage.") % {"most": most}
            )
        return file
