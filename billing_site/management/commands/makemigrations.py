"""Django's `makemigrations`, for what the database holds: what a field and its values are called, and the help beside
it, is not."""

from typing import Any

from django.core.management.commands import makemigrations
from django.db import models
from django.db.migrations.autodetector import MigrationAutodetector

#: They are words for people, in four languages. A migration for each of them would double how long a new database
#: takes, and change nothing in it.
WORDS = frozenset({"verbose_name", "help_text"})


class Changes(MigrationAutodetector):
    """What a migration has to change."""

    def deep_deconstruct(self, obj: Any) -> Any:
        found = super().deep_deconstruct(obj)
        if not isinstance(obj, models.Field):
            return found
        path, args, kwargs = found
        kept = {name: value for name, value in kwargs.items() if name not in WORDS}
        if "choices" in kept:
            kept["choices"] = [value for value, _word in obj.flatchoices]
        return path, args, kept


class Command(makemigrations.Command):
    autodetector = Changes
