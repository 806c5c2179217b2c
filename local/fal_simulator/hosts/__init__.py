"""The hosts that the simulator plays, and the proxy that leads to them."""
