"""What runs beside the API: dispatcher, outbox relay, silence."""
