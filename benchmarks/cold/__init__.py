"""Cold starts: a fresh process imports a function and handles its first event."""
