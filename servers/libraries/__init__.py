"""Event loops from the standard library and from PyPI."""
