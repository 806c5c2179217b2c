"""Cuts audio into slices, and joins videos with the audio that they were made from.

``silences`` and ``slices`` read the audio, ``last_frame`` and ``joiner`` the videos; ``sound`` and
``opening`` are what they share. Times are on the timeline of the decoded audio: its first sample is
0, and sample n is at n / rate, whatever the file's timestamps say. Only the function that has the
layer of FFmpeg imports these.
"""
