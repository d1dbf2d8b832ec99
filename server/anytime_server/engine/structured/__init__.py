"""Constraints of answers (JSON schemas, expressions, choices, grammars): which part of them can be enforced.

`relax.py` leaves out of a JSON schema what tokens cannot be held to, `schema.py` writes the rest as
llguidance reads it, `faults.py` finds what is wrong with it, `masks.py` samples its cost, and
`violations.py` checks texts against the whole schema. `process.py` does all of that in a process that
`compiler.py` runs. `matcher.py` is for engines that mask tokens themselves.
"""
