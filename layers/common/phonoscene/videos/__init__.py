"""Videos: their formats, and the bucket they are stored in."""
