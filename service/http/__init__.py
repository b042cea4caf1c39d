"""The HTTP door: OpenAI's API over the same answerers as gRPC."""
