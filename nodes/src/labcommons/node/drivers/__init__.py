"""Drivers, one module per standard; each translates the ten words of the line protocol."""
