"""Audio and videos for the pages."""
