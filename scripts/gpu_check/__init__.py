"""Checks on one GPU: FlexAttention, packed trees, a training step, the transformers engine, the demo recipe.

`stages.py` lists the checks, and runs each in a process of its own. `record.py` writes what they measure.
"""
