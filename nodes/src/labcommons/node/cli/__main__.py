"""`python -m labcommons.node.cli`: the same command, where no script is on the path."""

from labcommons.node.cli import main

main()
