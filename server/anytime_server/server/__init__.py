"""The process: settings, listening socket, HTTP connections, start and graceful shutdown."""
