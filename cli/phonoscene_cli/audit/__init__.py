"""The drop bucket beside the jobs table."""
