"""The Compute port's adapters; the facility's own Ray."""
