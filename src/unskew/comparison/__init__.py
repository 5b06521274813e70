"""Several runs beside each other: paired tests, one table, one page."""
