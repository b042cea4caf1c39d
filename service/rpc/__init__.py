"""The gRPC door: servicers, errors on the wire, conversion."""
