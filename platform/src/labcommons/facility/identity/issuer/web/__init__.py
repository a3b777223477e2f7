"""The issuer's endpoints and its few pages."""
