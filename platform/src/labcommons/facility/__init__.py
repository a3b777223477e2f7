"""The user facility's service."""
