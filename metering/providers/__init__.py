"""Providers: code that can ask one kind of system for usage. Each module here is one provider."""
