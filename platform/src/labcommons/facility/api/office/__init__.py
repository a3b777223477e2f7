"""Routes of the room *office*: who I am, projects, allocations, the ledger."""
