"""The run of a request: a real video, rendered from the sound."""
