"""Where the web pages will stand; a client of the public API like any other. Nothing is here yet."""
