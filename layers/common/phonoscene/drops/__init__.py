"""What people drop: keys, sidecars, prices, and how they are read."""
