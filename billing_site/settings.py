"""Settings, driven by the environment. Production is the default; `DEBUG=1` is for a developer's machine.

The guide to every variable is `docs/operating.md`; what is missing or unsafe is said by `manage.py check`.
"""

from decimal import Decimal
from pathlib import Path

import django_stubs_ext
import environ
from csp.constants import NONE, SELF

from billing_site.keys import field_keys, secret_key
from billing_site.refusals import refuse
from metering.providers.networks import BLOCKED

# Lets ModelForm[Server] and the like be written outside of comments
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
env.read_env(BASE_DIR / ".env")

DEBUG = env.bool("DEBUG", default=False)
VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var"))).resolve()
SECRET_KEY = env.str("SECRET_KEY", default="") or secret_key(VAR_DIR)
#: Fernet keys of stored credentials, newest first; the others only decrypt.
FIELD_KEYS = env.list("FIELD_KEYS", default=[]) or field_keys(VAR_DIR)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
refuse(debug=DEBUG, hosts=ALLOWED_HOSTS, secret_key=SECRET_KEY)

# What is on every page and invoice
SITE_NAME = env.str("SITE_NAME", default="Tallyport")
#: Where people find the site: mails say it.
SITE_ADDRESS = env.str("SITE_ADDRESS", default=f"http://localhost:{env.str('PORT', default='8000')}").rstrip("/")
SELLER_NAME = env.str("SELLER_NAME", default=SITE_NAME)
SELLER_ADDRESS = env.str("SELLER_ADDRESS", default="")
SELLER_TAX_NUMBER = env.str("SELLER_TAX_NUMBER", default="")
#: A statement that every invoice must carry. What is said of a tax stands on its rate.
SELLER_NOTE = env.str("SELLER_NOTE", default="")
#: How invoices are paid, such as a bank account, in lines.
SELLER_PAYMENT = env.str("SELLER_PAYMENT", default="")
#: What nothing is invoiced without, of invoicing.required.FIELDS.
REQUIRED_ON_INVOICES = env.list("REQUIRED_ON_INVOICES", default=[])
#: A folder of fonts for PDFs, beside the site's own.
PDF_FONTS = env.str("PDF_FONTS", default="")
DEFAULT_CURRENCY = env.str("DEFAULT_CURRENCY", default="USD")
PAYMENT_DAYS = env.int("PAYMENT_DAYS", default=14)
#: So many days before an invoice is due, and so many after it was, clients are reminded of what is left to pay. 0 and
#: an empty list: never.
REMIND_DAYS_BEFORE = env.int("REMIND_DAYS_BEFORE", default=3)
OVERDUE_DAYS = sorted({int(day) for day in env.list("OVERDUE_DAYS", default=["1", "7", "14"])} - {0})
#: Where clients' questions go, and their answers to mails. Empty: to staff who may answer, and to who sends mails.
SUPPORT_EMAIL = env.str("SUPPORT_EMAIL", default="")
#: Hours after which a value is too old to be billed without asking the server again.
STALE_AFTER_HOURS = env.int("STALE_AFTER_HOURS", default=36)
#: What collecting one server may take, in seconds; all of them, below what the worker gives a job; and how many are
#: collected side by side.
COLLECTION_SECONDS = env.int("COLLECTION_SECONDS", default=1200)
COLLECTING_SECONDS = env.int("COLLECTING_SECONDS", default=1500)
COLLECTORS = env.int("COLLECTORS", default=8)
#: Requests that a push key may make in a minute.
PUSHES_PER_MINUTE = env.int("PUSHES_PER_MINUTE", default=600)
#: Requests that an API key of a client may make in a minute.
API_REQUESTS_PER_MINUTE = env.int("API_REQUESTS_PER_MINUTE", default=300)
#: Networks in which no server is asked over HTTP, in CIDR notation.
BLOCKED_NETWORKS = env.list("BLOCKED_NETWORKS", default=list(BLOCKED))
#: A service that missed more terms than this is billed when a person approves it.
CATCH_UP_TERMS = env.int("CATCH_UP_TERMS", default=6)
#: Above this amount, or this many times the last term, a service waits for approval; by default none does.
APPROVAL_ABOVE = Decimal(text) if (text := env.str("APPROVAL_ABOVE", default="")) else None
APPROVAL_ABOVE_FACTOR = Decimal(text) if (text := env.str("APPROVAL_ABOVE_FACTOR", default="")) else None
#: What a run's preview shows of the bills, keeping nothing back: differences from the last term above this percentage
#: and this amount, usage that rose this many times, and bills above this many times the middle one.
DIFFERENCE_ABOVE_PERCENT = Decimal(env.str("DIFFERENCE_ABOVE_PERCENT", default="20"))
DIFFERENCE_ABOVE = Decimal(env.str("DIFFERENCE_ABOVE", default="10"))
USAGE_ROSE_FACTOR = Decimal(env.str("USAGE_ROSE_FACTOR", default="3"))
LARGE_FACTOR = Decimal(env.str("LARGE_FACTOR", default="10"))
#: A dry run of more services than this is left to the worker.
PREVIEW_AT_ONCE = env.int("PREVIEW_AT_ONCE", default=2000)
#: Whether pages do themselves what they would leave to the worker: in tests.
WITHOUT_WORKER = False

INSTALLED_APPS = [
    "billing_site",
    "reports",
    "invoicing",
    "catalog",
    "metering",
    "audit",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "crispy_forms",
    "crispy_bootstrap5",
    "csp",
    "django_q",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "billing_site.privacy.close_what_is_not_used",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "billing_site.privacy.ContentPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "billing_site.preferences.follow_the_person",
    "billing_site.error_views.explain_forms_only",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "audit.middleware.remember_who_is_at_work",
    "billing_site.privacy.never_store_pages_of_users",
    "billing_site.second_factor.RequireSecondFactor",
    "catalog.access.LookOnly",
]

ROOT_URLCONF = "billing_site.urls"
WSGI_APPLICATION = "billing_site.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "billing_site.context.site",
                "billing_site.account_views.account_shell",
                "catalog.access.portal",
            ],
        },
    }
]

if env.str("DATABASE_URL", default=""):
    DATABASES = {"default": env.db("DATABASE_URL", engine="billing_site.database")}
else:
    DATABASES = {
        "default": {
            "ENGINE": "billing_site.embedded",
            "NAME": "tallyport",
            "USER": "postgres",
            "HOST": str(VAR_DIR / "postgresql"),
        }
    }
DATABASES["default"]["CONN_MAX_AGE"] = env.int("CONN_MAX_AGE", default=60)
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
#: Shared by all processes; it holds counts of tries and codes that were used, and nothing of pages.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "site_cache",
        "OPTIONS": {"MAX_ENTRIES": 50_000},
    }
}

# People
AUTH_USER_MODEL = "catalog.User"
AUTHENTICATION_BACKENDS = ["billing_site.accounts.ByPassword"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ["UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator"]
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
ACCOUNT_ADAPTER = "billing_site.accounts.ByInvitation"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_PREVENT_ENUMERATION = "strict"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_FORMS = {
    "login": "billing_site.account_forms.SignIn",
    "reauthenticate": "billing_site.account_forms.Confirm",
    "change_password": "billing_site.account_forms.ChangePassword",
    "reset_password": "billing_site.account_forms.AskForReset",
    "reset_password_from_key": "billing_site.account_forms.NewPassword",
    "user_token": "billing_site.account_forms.ResetToken",
}
# Tries / time / of whom: "key" is the address that somebody signs in with, known or not. docs/operating.md tells them.
ACCOUNT_RATE_LIMITS = {
    "login": "30/m/ip",
    "login_failed": "10/m/ip,5/5m/key",
    "reset_password": "10/m/ip,3/10m/key",
    "reset_password_from_key": "10/m/ip",
    "change_password": "5/m/user",
    "reauthenticate": "10/m/user",
}
#: Proxies in a row that are trusted to add to X-Forwarded-For; without them that header is not looked at.
ALLAUTH_TRUSTED_PROXY_COUNT = env.int("TRUSTED_PROXIES", default=int(env.bool("BEHIND_PROXY", default=False)))
PASSWORD_RESET_TIMEOUT = 3600
MFA_ADAPTER = "billing_site.accounts.SecondFactors"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
# Nobody signs up here, and a link to reset a password, which anybody may ask for, leaves an address unverified.
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_TOLERANCE = 1
MFA_FORMS = {
    "activate_totp": "billing_site.account_forms.AddApp",
    "authenticate": "billing_site.account_forms.SecondStep",
    "reauthenticate": "billing_site.account_forms.SecondStepAgain",
    "add_webauthn": "billing_site.account_forms.AddPasskey",
}
#: Whether staff must have a second step of signing in.
STAFF_MFA = env.bool("STAFF_MFA", default=not DEBUG)
#: Sessions end after two weeks, those of staff after half a day.
SESSION_ENGINE = "billing_site.session_store"
SESSION_COOKIE_AGE = 14 * 24 * 3600
STAFF_SESSION_SECONDS = env.int("STAFF_SESSION_HOURS", default=12) * 3600

# Time and language
USE_TZ = True
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
LANGUAGE_CODE = env.str("LANGUAGE_CODE", default="en")
FORMAT_MODULE_PATH = ["billing_site.formats"]
LANGUAGES = [("en", "English"), ("de", "Deutsch"), ("fr", "français"), ("es", "español")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True

# Files
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
FORM_RENDERER = "billing_site.fields.Renderer"
CRISPY_ALLOWED_TEMPLATE_PACKS = "bootstrap5"
CRISPY_TEMPLATE_PACK = "bootstrap5"

# Mail
EMAIL_CONFIG = env.email_url("EMAIL_URL", default="consolemail://")
vars().update(EMAIL_CONFIG)
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="billing@localhost")
EMAIL_TIMEOUT = env.int("EMAIL_TIMEOUT", default=20)

# Jobs: django-q2 only ticks; what is due is decided from the site's own rows (billing_site.jobs)
Q_CLUSTER = {
    "name": "tallyport",
    "orm": "default",
    "broker_class": "billing_site.broker.Broker",
    "workers": env.int("WORKERS", default=2),
    "timeout": 1800,
    "retry": 2400,
    "max_attempts": 1,
    "catch_up": False,
    "time_zone": "UTC",
    "save_limit": 250,
    "bulk": 5,
    "poll": 1,
    "label": "Jobs",
}

# Safety
#: Opens the details of /readyz to a monitoring system.
MONITORING_TOKEN = env.str("MONITORING_TOKEN", default="")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
# A form of many bracket rows and currencies, and no more
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000
if not DEBUG:
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("BEHIND_PROXY", default=False) else None
    SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.bool("SECURE_COOKIES", default=True)

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"()": "billing_site.logs.OneLine", "format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        name: {"level": env.str("LOG_LEVEL", default="INFO")}
        for name in ["billing_site", "audit", "metering", "catalog", "invoicing"]
    }
    # These write down addresses and headers of what servers answer.
    | {name: {"level": "WARNING"} for name in ["httpx2", "httpcore2"]},
}
