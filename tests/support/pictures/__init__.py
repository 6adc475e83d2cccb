"""The reference pictures and what they show."""
