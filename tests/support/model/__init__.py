"""What a session must do, computed without one."""
