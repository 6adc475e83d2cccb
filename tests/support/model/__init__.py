"""Models of a session that compute what it must do."""
