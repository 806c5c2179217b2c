"""HTTPS to hosts that others name."""
