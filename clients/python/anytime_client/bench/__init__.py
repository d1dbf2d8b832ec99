"""`anytime bench`: load on a running server, and what became of it."""

from anytime_client.bench.command import main

__all__ = ["main"]
