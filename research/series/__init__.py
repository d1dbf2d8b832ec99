"""A series of training runs that are compared: its table of rows, its runs, their records, the report."""
