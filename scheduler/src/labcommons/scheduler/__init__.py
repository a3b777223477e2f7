"""Who goes next, and who may: pure decisions, no input or output."""
