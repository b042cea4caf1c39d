"""Measurements that are committed: one command each, one JSON file of results each."""
