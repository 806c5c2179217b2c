"""One deployed stack, and what is read of it."""
