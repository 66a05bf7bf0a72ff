"""Django's PostgreSQL backend, with one thing done more cheaply: see `base`."""
