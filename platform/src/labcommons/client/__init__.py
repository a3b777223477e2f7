"""The SDK and the `labcommons` command."""
