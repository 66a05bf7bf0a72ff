"""What holds for all tests. The settings are in tests/settings.py."""

from hypothesis import settings

# How long an example takes says something about the machine, not about the code.
settings.register_profile("tallyport", deadline=None)
settings.load_profile("tallyport")
