#!/usr/bin/env python
"""Tallyport's command line."""

import os
import sys

from django.core.management import execute_from_command_line

from audit.actors import working

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")
    with working(source="command", path=" ".join(sys.argv[1:2])):
        execute_from_command_line(sys.argv)
