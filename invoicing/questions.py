"""The deeds of questions about lines: to write in a thread, and to close it.

A thread is begun by the client. It waits for whoever did not write last; whoever is waited for gets a mail.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import Permission
from django.db import transaction
from django.db.models import Q, QuerySet, prefetch_related_objects

from catalog.models import ClientUser, User
from catalog.permissions import Deed, roles_that_may
from invoicing.models import Line, Message, Post, Question
from metering.prepared import Prepared

#: Letters of one post.
MOST = 4000
#: Who writes the same again later than this asks again.
JUST_NOW = timedelta(minutes=10)
_THREADS = Prepared(lambda line: Question.objects.filter(line=line).select_related("closed_by").order_by("opened_at"))


def of_line(line: Line) -> list[Question]:
    """The threads about a line, the oldest first, with their posts and who wrote them."""
    threads = _THREADS.all(line.pk)
    prefetch_related_objects(threads, "posts__by")
    return threads


def by_line(lines: Iterable[Line]) -> Mapping[UUID, Question]:
    """The newest thread about each of these lines that has one."""
    threads = Question.objects.filter(line__in=list(lines)).order_by("opened_at")
    return {thread.line_id: thread for thread in threads}


@transaction.atomic
def ask(*, line: Line, text: str, by: User, at: datetime) -> Question:
    """Write as the client about a line: in its open thread, or in a new one."""
    # Whoever else begins a thread about it waits here, and then finds this one.
    Line.objects.order_by().select_for_update(of=("self",)).get(pk=line.pk)
    thread = Question.objects.select_for_update(of=("self",)).filter(line=line, closed_at=None).first()
    if thread is None:
        thread = Question(client_id=line.invoice.client_id, invoice=line.invoice, line=line, opened_at=at, posted_at=at)
        thread.save(force_insert=True)
    elif _is_the_last(thread, text, by, at):
        return thread
    _post(thread, text=text, by=by, is_of_staff=False, at=at)
    return thread


@transaction.atomic
def answer(*, question: Question, text: str, by: User, at: datetime) -> Question:
    """Write as staff in a thread that is open. Raises Question.DoesNotExist for one that is closed."""
    thread = Question.objects.select_for_update(of=("self",)).get(pk=question.pk, closed_at=None)
    if _is_the_last(thread, text, by, at):
        return thread
    _post(thread, text=text, by=by, is_of_staff=True, at=at)
    return thread


def close(*, question: Question, by: User, at: datetime) -> bool:
    """End a thread. Returns whether it was open until now."""
    return bool(Question.objects.filter(pk=question.pk, closed_at=None).update(closed_at=at, closed_by=by))


def _is_the_last(thread: Question, text: str, by: User, at: datetime) -> bool:
    """Whether this was said just now: a form that is sent twice says it once."""
    last = thread.posts.order_by("-at", "-pk").first()
    return last is not None and (last.text, last.by_id) == (text, by.pk) and at - last.at < JUST_NOW


def _post(thread: Question, *, text: str, by: User, is_of_staff: bool, at: datetime) -> None:
    post = Post.objects.create(question=thread, text=text, by=by, is_of_staff=is_of_staff, at=at)
    Question.objects.filter(pk=thread.pk).update(posted_at=at, waits_for_staff=not is_of_staff)
    Message.objects.bulk_create(_mails(thread, post, at), ignore_conflicts=True)


def _mails(thread: Question, post: Post, at: datetime) -> Iterable[Message]:
    """To those who are waited for: the client's users who may question lines, or staff who answer."""
    told = Message(kind=Message.Kind.QUESTION, client_id=thread.client_id, post=post, created_at=at)
    if not post.is_of_staff and settings.SUPPORT_EMAIL:
        return [_to(told, settings.SUPPORT_EMAIL, None)]
    users = _of_client(thread.client_id) if post.is_of_staff else _of_staff()
    return [_to(told, user.email, user) for user in users]


def _to(told: Message, address: str, user: User | None) -> Message:
    return Message(
        kind=told.kind, client_id=told.client_id, post=told.post, created_at=told.created_at, to=address, user=user
    )


def _of_client(client: int) -> QuerySet[User]:
    members = ClientUser.objects.filter(client=client, role__in=roles_that_may(Deed.QUESTIONS))
    return User.objects.filter(is_active=True, pk__in=members.values("user"))


def _of_staff() -> QuerySet[User]:
    """Whoever of staff may answer, by a group or by themselves."""
    leave = Permission.objects.filter(content_type__app_label="invoicing", codename="change_question")
    able = Q(groups__permissions__in=leave) | Q(user_permissions__in=leave) | Q(is_superuser=True)
    return User.objects.filter(able, is_staff=True, is_active=True).distinct()
