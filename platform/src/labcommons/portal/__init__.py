"""The web pages; a client of the public API like any other."""
