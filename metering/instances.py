"""Instances of rows, as Django makes them, in less time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from inspect import getattr_static
from typing import Any, NamedTuple

from django.db.models import Model
from django.db.models.base import ModelState
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute
from django.db.models.query import RelatedPopulator, get_related_populators
from django.db.models.query_utils import DeferredAttribute
from django.db.models.signals import post_init, pre_init

#: What makes an instance of the name of a database, those of columns, and their values.
Make = Callable[[str, Sequence[str], Sequence[Any]], Model]


def maker(model: type[Model]) -> Make:
    """Return what makes an instance of a row as Django does, without asking each column whether it is there, and
    telling those who listen. Where there are some, or the model has a way of its own, or a column is more than its
    value, it is Django that does."""
    columns = [getattr_static(model, field.attname) for field in model._meta.concrete_fields]
    is_plain = (
        model.__init__ is Model.__init__
        and model.from_db.__func__ is Model.from_db.__func__  # type: ignore[attr-defined]
        and not any(signal.has_listeners(model) for signal in (pre_init, post_init))
        and all(type(column) in (DeferredAttribute, ForeignKeyDeferredAttribute) for column in columns)
    )
    if not is_plain:
        return model.from_db

    def make(using: str, names: Sequence[str], values: Sequence[Any]) -> Model:
        one = model.__new__(model)
        state = one._state = ModelState()
        state.adding, state.db = False, using
        one.__dict__.update(zip(names, values, strict=True))
        return one

    return make


def related(found: Any, columns: Any, using: str) -> list[RelatedPopulator]:
    """Return what adds to an instance those that were selected with it, by what a compiler found, and makes them
    likewise."""
    populators = get_related_populators(found, columns, using)  # type: ignore[call-arg]
    for each in _all_of(populators):
        each.model_cls = _Made(maker(each.model_cls))  # type: ignore[assignment]  # it has what is asked of it
    return populators


class _Made(NamedTuple):
    """What a populator asks for instances, in the place of their model."""

    from_db: Make


def _all_of(populators: Iterable[RelatedPopulator]) -> Iterator[RelatedPopulator]:
    for each in populators:
        yield each
        yield from _all_of(each.related_populators)
