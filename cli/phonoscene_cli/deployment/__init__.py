"""Deploys a release with the caller's credentials: archive, parameters, bucket, change set."""
