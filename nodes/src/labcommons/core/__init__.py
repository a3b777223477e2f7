"""Ids, quantities, units, profiles, time windows and the exception tree."""
