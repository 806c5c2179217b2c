"""Copying a video from a CDN into S3: the deployed code, and four other ways, between two servers."""
