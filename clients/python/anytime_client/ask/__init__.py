"""`anytime ask`: a question from the terminal, thinking dimmed and the answer bright."""

from anytime_client.ask.command import main

__all__ = ["main"]
