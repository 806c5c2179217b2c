"""Long audio: where it is cut, what its scenes ask for, and how its segments become one video."""
