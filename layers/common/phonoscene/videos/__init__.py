"""Videos: read from fal's CDN, recognised, and stored in the output bucket."""
