"""Copying a video from a CDN into S3, the deployed way and others, between two servers."""
