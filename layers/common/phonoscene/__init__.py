"""Phonoscene: from a dropped audio file to a stored video.

The package is the layer that every function shares. Its modules form three rings, and imports point
inwards only: the edges (one outside thing each) and the workflow know the core, the core knows
nothing of them.
"""
