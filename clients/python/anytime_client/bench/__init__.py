"""`anytime bench`: sends load to a running server and reports how it performed."""

from anytime_client.bench.command import main

__all__ = ["main"]
