"""Chains of operations modulo 10: the problems, their wordings, and thinking in three styles."""
