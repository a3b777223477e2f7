"""Where the course service and grading from evidence will stand. Nothing is here yet."""
