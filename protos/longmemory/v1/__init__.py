"""Version 1 of the protos of longmemory, as Python; made by protoc, never edited."""
