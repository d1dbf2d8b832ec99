"""The demonstration: a small task, written thinking for it, and the warm start that teaches a model to think.

The algorithm does not import it: a recipe names the task, or the checkpoint that the warm start left.
"""
