"""`anytime ask`: send a prompt from the terminal, and show the thinking dimmed and the answer bright."""

from anytime_client.ask.command import main

__all__ = ["main"]
