"""The room *office*: people, projects, and the time they were given."""
