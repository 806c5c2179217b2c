"""What a release consists of: a wheel, an archive for AWS, and their hashes."""
