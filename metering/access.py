"""The gate of every staff page."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def staff(*permissions: str, to_change: str = "") -> Callable[[View[P]], View[P]]:
    """Let staff with a permission, or one of several, pass; send nobody to the login, and refuse everyone else.

    `to_change` names the permission that a page wants for what is posted, when looking at it wants less.
    """

    def gate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            user = request.user
            if not user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            needed = (to_change,) if to_change and request.method not in SAFE else permissions
            if not user.is_staff or not any(map(user.has_perm, needed)):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return cast("View[P]", guarded)

    return gate
