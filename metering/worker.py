"""Handing work to the worker."""

from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string
from django_q.tasks import async_task


def hand_over(job: str, *arguments: int | str) -> None:
    """Have the worker do a job, once the transaction is committed; or do it here, where there is no worker."""
    if settings.WITHOUT_WORKER:
        import_string(job)(*arguments)
    else:
        transaction.on_commit(lambda: async_task(job, *arguments))
