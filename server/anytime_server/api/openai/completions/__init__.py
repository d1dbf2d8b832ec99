"""Completions of texts without a chat template: schema, handler and stream."""
