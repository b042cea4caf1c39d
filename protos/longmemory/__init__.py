"""The generated code of the protos of longmemory."""
