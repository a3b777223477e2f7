"""The facility's verbs, a module per noun; no framework here."""
