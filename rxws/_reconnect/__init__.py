"""The client that stays connected."""
