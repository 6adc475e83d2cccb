"""The reconnecting client."""
