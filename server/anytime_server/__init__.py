"""Serve a reasoning model that can be asked for its answer at any moment."""

__version__ = "0.1.0"
