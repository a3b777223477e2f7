"""From the queue to the grant: what the dispatcher sees, decides and commits."""
