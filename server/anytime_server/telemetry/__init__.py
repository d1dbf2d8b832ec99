"""Metrics, logs and traces of sessions and HTTP requests."""
