"""Tests run on a PostgreSQL of their own, beside the developer's, in var/test."""

import os
from pathlib import Path

os.environ.setdefault("VAR_DIR", str(Path(__file__).resolve().parent.parent / "var" / "test"))
os.environ["DEBUG"] = "1"
os.environ["EMAIL_URL"] = "memorymail://"

from billing_site.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = True
WITHOUT_WORKER = True
