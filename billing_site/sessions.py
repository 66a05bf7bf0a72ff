"""The sessions of a person: which are open, and how they end."""

from datetime import datetime

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db.models import QuerySet

from catalog.models import User


def open_sessions(user: User, at: datetime) -> QuerySet[UserSession]:
    """The sessions in which somebody is signed in, newest first."""
    alive = Session.objects.filter(expire_date__gt=at).values("session_key")
    own: QuerySet[UserSession] = UserSession.objects.filter(user=user, session_key__in=alive)
    return own.order_by("-created_at")


def end(user: User, *, but: str | None = None) -> None:
    """End the sessions of a user, all or all but the one with a key."""
    ended = UserSession.objects.filter(user=user).exclude(session_key=but)
    Session.objects.filter(session_key__in=ended.values("session_key")).delete()
    ended.delete()


def end_one(user: User, pk: int) -> None:
    """End one session of a user; another one's is left alone."""
    for session in UserSession.objects.filter(user=user, pk=pk):
        Session.objects.filter(session_key=session.session_key).delete()
        session.delete()
