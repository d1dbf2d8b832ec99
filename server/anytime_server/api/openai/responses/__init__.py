"""The Responses API: schema, input items, handler and stream."""
