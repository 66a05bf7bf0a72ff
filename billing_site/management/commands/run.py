"""The whole site in one go: database, migrations, web server and worker, until Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from catalog.models import User


class Command(BaseCommand):
    help = "Migrates, then serves the site and works on its jobs. For one machine; see docs/operating.md for more."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--demo", action="store_true", help="fill a small site with real metered data first")
        parser.add_argument("--port", default=os.environ.get("PORT", "8000"))

    def handle(self, *, demo: bool, port: str, **_: Any) -> None:
        call_command("migrate", verbosity=0)
        if not settings.DEBUG:
            call_command("collectstatic", interactive=False, verbosity=0)
        environment = {**os.environ, "PORT": port}
        if demo:
            call_command("demo")
            environment.setdefault("EMAIL_URL", f"filemail:///{settings.VAR_DIR}/demo-mail")
        elif not User.objects.filter(is_staff=True).exists():
            self.stdout.write("Nobody can sign in yet. manage.py createsuperuser makes the first of staff.")
        # This process keeps its place among the users of the embedded database, but no connection.
        connection.close()
        manage = [sys.executable, "manage.py"]
        web = [sys.executable, "-m", "gunicorn", "billing_site.wsgi", f"--bind=127.0.0.1:{port}"]
        web += ["--workers=2", "--threads=4", "--worker-tmp-dir=/tmp"]
        # A Ctrl-C goes to every process of the terminal, and a worker that is told twice to stop hangs: so they
        # have sessions of their own, and hear it from us, once.
        processes = [
            subprocess.Popen(  # noqa: S603 (our own commands)
                command, cwd=settings.BASE_DIR, env=environment, start_new_session=True
            )
            for command in (web, [*manage, "qcluster"])
        ]
        if demo and "EMAIL_URL" not in os.environ:
            self.stdout.write(f"Mails are written to {settings.VAR_DIR / 'demo-mail'}.")
        self.stdout.write(f"The site is at http://localhost:{port}/ and stops with Ctrl-C.")
        self.wait(processes)

    def wait(self, processes: list[subprocess.Popen[bytes]]) -> None:
        """Wait until one of the processes ends or somebody stops us, then stop them all."""
        asked_to_stop = False

        def stop(*_: object) -> None:
            nonlocal asked_to_stop
            asked_to_stop = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        while not asked_to_stop and all(process.poll() is None for process in processes):
            time.sleep(0.2)
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
        if not asked_to_stop:
            raise CommandError("The web server or the worker ended by itself; what it wrote above says why.")
