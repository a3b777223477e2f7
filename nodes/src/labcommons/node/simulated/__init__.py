"""Simulated labs on published data, one module per lab."""
