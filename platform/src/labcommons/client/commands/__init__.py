"""The verbs of the `labcommons` command, a module for each kind of verb."""
