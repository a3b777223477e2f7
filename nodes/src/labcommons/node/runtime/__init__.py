"""Where instruments live: detached Ray actors, or in this process."""
