"""Services of the room *run*: experiments, studies, attempts, records, and the one place where states change."""
