"""JSON constraints: which schemas can be enforced, and grammars of them over a checkpoint's vocabulary."""
