# Everything runs in .venv, made from uv.lock. `make run` and `make test` need Python 3.11 or later and make.
# A distribution builds its Python with the profile of a run of it; one that was built by hand often is not, and takes a
# fifth more of a processor for a page (docs/decisions/0015).
PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys; assert sys.version_info >= (3, 11)' 2>/dev/null && echo /usr/bin/)python3
UV_VERSION := 0.13.8
PORT ?= 8000
export PORT
BIN := .venv/bin

.PHONY: help setup run test check format messages bench screenshots clean

help:
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

.venv/ready: uv.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv sync --frozen --quiet --inexact
	touch $@

setup: .venv/ready ## make .venv from the lock

# As in production, but without TLS and second steps of signing in.
run: export SECURE_SSL_REDIRECT = 0
run: export SECURE_COOKIES = 0
run: export SECURE_HSTS_SECONDS = 0
run: export STAFF_MFA = 0
run: setup ## the site with a filled demo, its worker and its own database
	$(BIN)/python manage.py run --demo

test: setup ## all tests
	$(BIN)/pytest

check: setup ## format, lint, types, import contracts, migrations, templates, security
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	DEBUG=1 $(BIN)/python manage.py check
	$(BIN)/djlint --check --lint --quiet templates
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive billing_site metering catalog invoicing audit reports

format: setup ## put the code into its format
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .
	$(BIN)/djlint --reformat --quiet templates

messages: setup ## locale/: the texts of the code, and what of them is translated
	$(BIN)/pybabel --quiet extract -F babel.cfg --ignore-dirs=".*" -k gettext_lazy -k gettext_noop -k ngettext_lazy:1,2 \
		-k pgettext_lazy:1c,2 -c Translators: --no-location --sort-output --project Tallyport --output locale/django.pot .
	for language in de fr es; do $(BIN)/pybabel --quiet update --domain django --input-file locale/django.pot \
		--output-dir locale --locale $$language --init-missing --no-fuzzy-matching --ignore-obsolete; done
	$(BIN)/pybabel --quiet compile --domain django --directory locale
	$(BIN)/python -m billing_site.english

bench: setup ## ratios to a raw psycopg floor, from one run
	$(BIN)/python tests/benchmarks/run.py
	$(BIN)/python tests/benchmarks/billing.py
	$(BIN)/python tests/benchmarks/over_http.py
	$(BIN)/python tests/benchmarks/pushing.py
	$(BIN)/python tests/benchmarks/portal.py
	$(BIN)/python tests/benchmarks/lists.py
	$(BIN)/python tests/benchmarks/reports.py
	$(BIN)/python tests/benchmarks/pdf.py

screenshots: setup ## docs/screenshots, from the demo in a real Chromium; ONLY=portal for some
	ONLY="$(ONLY)" $(BIN)/python tests/browser/screenshots.py

clean:
	rm -rf .venv staticfiles
