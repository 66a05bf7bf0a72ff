"""The audit log as an app: it tells every new connection who is at work, and hears of logins."""

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.backends.signals import connection_created
from django.utils.translation import gettext_lazy as _


class AuditConfig(AppConfig):
    name = "audit"
    verbose_name = _("audit log")

    def ready(self) -> None:
        from audit import actors, log

        connection_created.connect(actors.tell_new_connection)
        user_logged_in.connect(log.note_login)
        user_logged_out.connect(log.note_logout)
        user_login_failed.connect(log.note_failed_login)
