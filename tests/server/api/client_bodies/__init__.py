"""Bodies as the clients in docs/migrate.md send them, in a file for each dialect, and their replay."""
