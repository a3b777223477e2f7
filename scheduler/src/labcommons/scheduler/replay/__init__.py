"""The real policy run against a simulated clock. So far: the queue as it stands, to say when each step will be done."""
