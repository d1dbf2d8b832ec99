"""JSON constraints: which schemas can be enforced, and grammars of them over a checkpoint's vocabulary.

`schema.py` writes a schema as llguidance reads it, `faults.py` finds what is wrong with it, and `masks.py`
samples its cost. `process.py` does all of that in a process that `compiler.py` runs. `matcher.py` is for
engines that mask tokens themselves.
"""
