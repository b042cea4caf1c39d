"""Corpora, jobs, router, answering, gRPC and the command line."""
