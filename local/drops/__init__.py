"""What is dropped in a local cloud: its price, its jobs and its videos."""
