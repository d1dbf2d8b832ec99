"""The client: talks to a server over HTTP and imports nothing of it."""
