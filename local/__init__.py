"""The cloud on your machine: an AWS emulator, a fal simulator, and the real template on them."""
