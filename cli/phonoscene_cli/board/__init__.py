"""The product in a browser, on loopback."""
