"""The `labcommons-node` command: what a lab's operator types. Each command lives beside what it speaks of."""

from labcommons.node.cli.group import main

__all__ = ["main"]
