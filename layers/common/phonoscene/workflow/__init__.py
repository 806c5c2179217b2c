"""The order of the steps: what happens to a drop, to a submission, to a webhook and to a result.

A step is written so that it may be cut off after any line and done again from the top.
"""
