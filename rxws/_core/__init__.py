"""Values, errors, lightweight streams and schedulers; nothing here knows a session or a socket."""
