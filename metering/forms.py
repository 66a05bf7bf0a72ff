"""The forms that add or change a server: what every server has, and what its provider asks for.

Credentials are written and never read: a stored one is not put into the page again, and a blank field
leaves it as it is. Rows are added and removed without script, so the page can be shown again with
everything that was typed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar
from zoneinfo import available_timezones

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils.html import escape
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from metering.declaring import is_in_use, known_metrics
from metering.models import Metric, Server
from metering.providers import base
from metering.vault import Credentials

MAX_ROWS = 200
MAX_TEXT = 20_000


@cache
def time_zones() -> list[str]:
    """Return the names that are offered; the others of the IANA database are accepted too."""
    return ["UTC", *sorted(name for name in available_timezones() if "/" in name and not name.startswith("Etc/"))]


class ServerForm(forms.ModelForm[Server]):
    """What every server has."""

    class Meta:
        model = Server
        fields: ClassVar = ["name", "time_zone", "is_active"]
        labels: ClassVar = {"time_zone": gettext_lazy("Time zone")}
        widgets: ClassVar = {"time_zone": forms.TextInput({"list": "time-zones", "autocomplete": "off"})}
        error_messages: ClassVar = {"name": {"unique": gettext_lazy("Another server has this name.")}}


class SettingsForm(forms.Form):
    """What the provider asks for, except for lists of rows.

    `stored` names the credentials that the server has; `typed` holds those that were typed into this
    page a moment ago and are not saved yet.
    """

    def __init__(
        self,
        *args: Any,
        asked: Sequence[base.Field],
        stored: Collection[str],
        typed: Mapping[str, str],
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.asked, self.typed = asked, typed
        for each in asked:
            self.fields[each.name] = form_field(each)
            if each.kind == "secret" and each.name in typed:
                self._may_stay_blank(each, _("Entered a moment ago and kept until you save. Leave blank to use it."))
            elif each.kind == "secret" and each.name in stored:
                self._may_stay_blank(each, _("Stored, and never shown. Leave blank to keep it."))
                if not each.required:
                    name = f"{each.label[:1].lower()}{each.label[1:]}"
                    label = _("Remove the stored %(name)s") % {"name": name}
                    self.fields[_removal(each)] = forms.BooleanField(label=label, required=False)

    def _may_stay_blank(self, asked: base.Field, why: str) -> None:
        self.fields[asked.name].required = False
        self.fields[asked.name].help_text = why

    def settings(self) -> dict[str, Any]:
        return {each.name: self.cleaned_data[each.name] for each in self.asked if each.kind != "secret"}

    def credentials(self, stored: Mapping[str, str]) -> Credentials:
        """Return what to store, given what is stored."""
        kept = Credentials(stored)
        for each in self.asked:
            if each.kind == "secret" and (new := self.cleaned_data[each.name] or self.typed.get(each.name)):
                kept[each.name] = new
            elif self.cleaned_data.get(_removal(each)):
                kept.pop(each.name, None)
        return kept


class RowForm(forms.Form):
    """One row of a setting that is a list. Left as it came, it is no row."""

    def __init__(self, *args: Any, columns: Sequence[base.Field], **options: Any) -> None:
        super().__init__(*args, **options)
        for column in columns:
            self.fields[column.name] = form_field(column)
            self.fields[column.name].help_text = ""  # said once, above the rows


class Rows:
    """The rows of a setting that is a list, one form each; their number is posted with them."""

    def __init__(self, asked: base.Field, *, initial: Any = None, data: QueryDict | None = None) -> None:
        self.asked = asked
        self.prefix = f"rows-{asked.name}"
        self.is_bound = data is not None
        if data is None:
            known = [row for row in initial or () if isinstance(row, Mapping)][:MAX_ROWS]
            self.forms = [self._form(number, initial=row) for number, row in enumerate(known or [{}])]
        else:
            count = data.get(f"{self.prefix}-count", "")
            rows = min(int(count), MAX_ROWS) if count.isdecimal() else 0
            self.forms = [self._form(number, data=data) for number in range(rows)]

    def _form(self, number: int | str, **options: Any) -> RowForm:
        prefix = f"{self.prefix}-{number}"
        return RowForm(
            prefix=prefix, columns=self.asked.columns, empty_permitted=True, use_required_attribute=False, **options
        )

    @property
    def blank(self) -> RowForm:
        """The row that the script copies."""
        return self._form("__number__")

    @property
    def is_full(self) -> bool:
        return len(self.forms) >= MAX_ROWS

    @property
    def hints(self) -> list[base.Field]:
        return [column for column in self.asked.columns if column.help]

    @property
    def filled(self) -> list[RowForm]:
        return [row for row in self.forms if row.has_changed()]

    @property
    def errors(self) -> list[str]:
        return [_("Fill in at least one row.")] if self.is_bound and self.asked.required and not self.filled else []

    def changed_by(self, data: QueryDict) -> "Rows":
        """Return the rows as they were typed, with the one more or less that a button asked for."""
        typed = [raw(row) for row in self.forms]
        name, _dash, number = data.get("remove", "").rpartition("-")
        if name == self.asked.name and number.isdecimal() and int(number) < len(typed):
            del typed[int(number)]
        if data.get("add") != self.asked.name:
            return Rows(self.asked, initial=typed)
        rows = Rows(self.asked, initial=[*typed, {}])
        next(iter(rows.forms[-1].fields.values())).widget.attrs["autofocus"] = True
        return rows


@dataclass(frozen=True, slots=True)
class Fault:
    """What the notice above the forms says of one field, and the id of what it is about."""

    label: str
    target: str
    message: str


class ServerForms:
    """All forms of one server. They are valid together and saved together.

    `data` is what was posted. If one of its buttons adds or removes a row, it is shown again as it was
    typed, neither checked nor complained about. `stored` are the credentials that the server has, `typed`
    those that were posted before and not saved; the attribute holds those of this time too.

    Raises ProviderError when the provider is not installed.
    """

    def __init__(
        self,
        server: Server,
        *,
        stored: Mapping[str, str],
        typed: Mapping[str, str],
        data: QueryDict | None = None,
    ) -> None:
        self.server, self.stored, self.data = server, stored, data
        self.kind = base.provider(server.provider)
        self.changes_rows = data is not None and ("add" in data or "remove" in data)
        self.typed = {**typed, **_secrets(self.kind.fields, data)}
        fields = [_translated(each) for each in self.kind.fields]
        lists = [each for each in fields if each.kind == "rows"]
        plain = [each for each in fields if each.kind != "rows"]
        asked: dict[str, Any] = {"prefix": "settings", "asked": plain, "stored": stored, "typed": self.typed}
        if data is None:
            self.general = ServerForm(instance=server)
            self.settings = SettingsForm(initial=server.settings, **asked)
            self.rows = [Rows(each, initial=server.settings.get(each.name, each.initial)) for each in lists]
            return
        self.general = ServerForm(data, instance=server)
        self.settings = SettingsForm(data, **asked)
        self.rows = [Rows(each, data=data) for each in lists]
        if self.changes_rows:
            self.general = ServerForm(initial=raw(self.general), instance=server)
            self.settings = SettingsForm(initial=raw(self.settings), **asked)
            self.rows = [rows.changed_by(data) for rows in self.rows]

    def is_valid(self) -> bool:
        if not self.faults():
            for rows in self.rows:
                if any(column.name == "system_name" for column in rows.asked.columns):
                    self._check_metrics(rows)
        return not self.faults()

    def _check_metrics(self, rows: Rows) -> None:
        elsewhere, known = self._declared_elsewhere(), known_metrics(self.server.provider)
        seen: set[str] = set()
        for row in rows.filled:
            name = row.cleaned_data["system_name"]
            settings = {**self.settings.settings(), rows.asked.name: [row.cleaned_data]}
            declared = {metric.system_name: metric for metric in self.kind.metrics(settings)}
            if name in seen:
                row.add_error("system_name", _("Another row has this system name."))
            elif name not in declared:
                row.add_error(
                    None,
                    _("%(title)s cannot use this row. Compare its values with the hints.")
                    % {"title": _(self.kind.title)},
                )
            else:
                _check_metric(row, declared[name], elsewhere.get(name))
                if name in known and not row.errors:
                    _check_use(row, declared[name], known[name])
            seen.add(name)

    def _declared_elsewhere(self) -> dict[str, tuple[str, base.Metric]]:
        """Return each metric of the provider's other servers, with the first server that has it."""
        others = Server.objects.filter(provider=self.server.provider).exclude(pk=self.server.pk).order_by("-name")
        return {
            metric.system_name: (name, metric)
            for name, settings in others.values_list("name", "settings")
            for metric in self.kind.metrics(settings)
        }

    def faults(self) -> list[Fault]:
        """Return what is wrong, in the order of the page."""
        found = [*_faults(self.general), *_faults(self.settings)]
        for rows in self.rows:
            found += [Fault(rows.asked.label, rows.prefix, error) for error in rows.errors]
            for number, row in enumerate(rows.forms, start=1):
                found += _faults(row, _("%(rows)s, row %(number)s") % {"rows": rows.asked.label, "number": number})
        return found

    def save(self) -> Server:
        server = self.general.save(commit=False)
        lists = {rows.asked.name: [row.cleaned_data for row in rows.filled] for rows in self.rows}
        # What the provider does not ask for was put there by somebody else, and stays.
        server.settings = {**server.settings, **self.settings.settings(), **lists}
        credentials = self.settings.credentials(self.stored)
        changed = ["name", "time_zone", "is_active", "settings"]
        if credentials != self.stored:
            server.credentials = credentials
            changed.append("credentials")
        server.save(update_fields=changed if server.pk else None)
        return server


def _translated(asked: base.Field) -> base.Field:
    """Return what a provider asks for, in the language of who reads it."""
    return replace(
        asked,
        label=_(asked.label),
        help=_(asked.help) if asked.help else "",
        choices=tuple((value, _(words) if words else "") for value, words in asked.choices),
        columns=tuple(map(_translated, asked.columns)),
    )


def form_field(asked: base.Field) -> forms.Field:
    """Return the form field for a setting that a provider asks for. Its hint is written as plain text."""
    options: dict[str, Any] = {
        "label": asked.label,
        "required": asked.required,
        "initial": asked.initial,
        "help_text": escape(asked.help),
    }
    if asked.kind == "number":
        return forms.IntegerField(min_value=0, max_value=10**12, **options)
    if asked.kind == "choice":
        choices = asked.choices if asked.required else (("", _("none")), *asked.choices)
        return forms.ChoiceField(choices=choices, **{**options, "initial": asked.initial or choices[0][0]})
    if asked.kind == "secret":
        widget = forms.PasswordInput({"autocomplete": "new-password"})
        return forms.CharField(max_length=MAX_TEXT, strip=False, widget=widget, **options)
    attributes = {"spellcheck": "false", "autocapitalize": "none", "autocomplete": "off"}
    text = forms.Textarea({**attributes, "rows": 3}) if asked.kind == "lines" else forms.TextInput(attributes)
    return forms.CharField(max_length=MAX_TEXT, widget=text, **options)


def raw(form: forms.BaseForm) -> dict[str, Any]:
    """Return what was typed into a form, as it was typed; a field of passwords never shows it."""
    return {
        name: field.widget.value_from_datadict(form.data, form.files, form.add_prefix(name))
        for name, field in form.fields.items()
    }


def _check_metric(row: RowForm, metric: base.Metric, elsewhere: tuple[str, base.Metric] | None) -> None:
    """Refuse a metric that cannot be kept, or that another server of the provider declares otherwise."""
    try:
        Metric(system_name=metric.system_name, display_name=metric.display_name).clean_fields(
            exclude=["provider", "type", "unit_data"]
        )
    except ValidationError as error:
        for column, messages in error.message_dict.items():
            row.add_error(column if column in row.fields else None, messages)
    if elsewhere:
        server, other = elsewhere
        if other.type != metric.type:
            said = _("%(server)s has this metric with the type %(type)s. Use the same, or another system name.")
            said %= {"server": server, "type": other.type}
            row.add_error("type" if "type" in row.fields else None, said)
        if other.unit != metric.unit:
            said = _("%(server)s has this metric with the unit %(unit)s. Use the same, or another system name.")
            said %= {"server": server, "unit": other.unit.code}
            row.add_error("unit" if "unit" in row.fields else None, said)


def _check_use(row: RowForm, metric: base.Metric, known: Metric) -> None:
    """Refuse another type or kind of unit while what is stored is counted in the one that it has."""
    is_other_type, is_other_unit = known.type != metric.type, known.unit.family != metric.unit.family
    if not (is_other_type or is_other_unit) or not is_in_use(known):
        return
    if is_other_type:
        said = _(
            "There is usage or a price of this metric with the type %(type)s. Use the same, or another system name."
        )
        row.add_error("type" if "type" in row.fields else None, said % {"type": known.type})
    if is_other_unit:
        said = _(
            "There is usage or a price of this metric with the unit %(unit)s. Use the same, or another system name."
        )
        row.add_error("unit" if "unit" in row.fields else None, said % {"unit": known.unit.code})


def _removal(asked: base.Field) -> str:
    return f"remove-{asked.name}"


def _secrets(fields: Sequence[base.Field], data: QueryDict | None) -> dict[str, str]:
    """Return the credentials among what was posted, without those that cannot be one."""
    if data is None:
        return {}
    posted = {each.name: data.get(f"settings-{each.name}") for each in fields if each.kind == "secret"}
    return {name: text for name, text in posted.items() if text and "\x00" not in text and len(text) <= MAX_TEXT}


def _faults(form: forms.BaseForm, where: str = "") -> list[Fault]:
    found = []
    for name, messages in form.errors.items():
        bound = form[name] if name in form.fields else None
        label = ", ".join(filter(None, [where, str(bound.label) if bound else ""]))
        target = bound.id_for_label if bound else f"row-{form.prefix}"
        found += [Fault(label, target, str(message)) for message in messages]
    return found
