"""What the issuer keeps: people, clients, sessions, and every secret that may be used once."""
