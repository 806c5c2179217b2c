"""What runs: the emulator, the stack that is deployed on it, and their files."""
