"""What `phonoscene doctor` checks."""
