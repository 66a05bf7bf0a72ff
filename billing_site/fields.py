"""Fields of forms, of all forms of the site and of Django's admin."""

from typing import Any

from django.forms import Widget
from django.forms.boundfield import BoundField
from django.forms.renderers import DjangoTemplates


class FocusedField(BoundField):
    """A field that is where the cursor is if it is the first that was filled in wrongly: nobody has to look for it, and
    a screen reader says its error at once."""

    def build_widget_attrs(self, attrs: dict[str, Any], widget: Widget | None = None) -> dict[str, Any]:
        attrs = super().build_widget_attrs(attrs, widget)
        if attrs.get("aria-invalid") and self.name == next(
            name for name in self.form.errors if name in self.form.fields
        ):
            attrs["autofocus"] = True
        return attrs


class Renderer(DjangoTemplates):
    """Draws forms as Django does, with fields that take the cursor."""

    bound_field_class = FocusedField
