"""Answers for people: why a step waits, in a word, a sentence and a constraint that a machine can check."""
