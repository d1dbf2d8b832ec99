"""HTTP: dialects over the same sessions. `app` puts them together."""
