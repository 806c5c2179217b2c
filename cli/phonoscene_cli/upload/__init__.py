"""From files on disk to drops in the bucket."""
