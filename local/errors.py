"""The one deliberate error of the local cloud."""


class LocalCloudError(Exception):
    """A sentence for the person at the terminal: what is wrong, and the next step."""
