"""fal.ai on loopback: its queue, webhooks, signing keys, request list and CDN, with a fault dial.

It imports nothing of the product, so it is an independent witness of what the product does.
"""
