"""Jobs on their way, and their videos."""
