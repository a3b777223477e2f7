"""Wake-ups and live events between parts of the facility."""
