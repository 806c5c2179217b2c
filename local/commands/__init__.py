"""One module for each command: it reads options and prints results."""
