"""Sessions and subjects in virtual time."""
