"""The commands: each reads its options, asks other modules for the work, and tells the result."""
