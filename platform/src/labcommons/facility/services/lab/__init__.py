"""The room *lab*: labs, nodes, instruments, and the link with them."""
