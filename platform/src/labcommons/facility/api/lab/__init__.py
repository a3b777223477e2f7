"""Routes of the room *lab*: labs, nodes, instruments, capabilities, and the link for nodes."""
