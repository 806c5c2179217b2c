"""Phonoscene: from a dropped audio file to a stored video.

The package is the layer that every function shares. Its modules form three rings, and imports point
inwards only: the edges (one outside thing each) and the workflow know the core, the core knows
nothing of them.
"""

import gc

#: Imports, and the SDK's models after them, make some 200,000 objects that stay. By default Python
#: looks through them at every 700 new ones, which took a fifth of a cold start; what it would find
#: is little, and is still found.
gc.set_threshold(50_000)
