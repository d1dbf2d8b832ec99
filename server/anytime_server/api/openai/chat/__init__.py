"""Chat completions: schema, handler and stream."""
