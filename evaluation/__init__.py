"""Measures the service as one of its clients."""
