"""Attacks on the server by clients, networks, files and its own engine, and the fault matrix made from them."""
