"""The Python client: a channel, plain values, files to upload."""
