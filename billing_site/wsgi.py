"""The site for a WSGI server: `gunicorn billing_site.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

from billing_site.stack import with_room

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")
application = with_room(get_wsgi_application())
