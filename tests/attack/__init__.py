"""Attacks on the server by clients, networks, files and its own engine; the fault matrix comes from them."""
