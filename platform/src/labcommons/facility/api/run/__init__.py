"""Routes of the room *run*: protocols, experiments, studies, attempts, records, objects, events."""
