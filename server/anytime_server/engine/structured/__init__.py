"""JSON constraints: schemas compiled to grammars over the vocabulary of a checkpoint."""
