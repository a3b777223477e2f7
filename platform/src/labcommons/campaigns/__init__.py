"""Planners behind one ask/tell port, and the closed loop."""
