"""Long audio: where it is cut, what each scene asks for, and what its segments are called."""
