"""ASGI middleware: request context, trusted hosts, size limits, authentication, access log."""
