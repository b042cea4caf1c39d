"""Asks a server's health over gRPC and exits 0 where it serves; for container and exec probes.

    python3 health.py [SERVICE] [--server HOST:PORT]
                      [--ca FILE --name NAME [--certificate FILE --key FILE]]

The empty SERVICE is the whole process; `longmemory.v1.QueryService` is whether it answers questions.
"""

import argparse
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING


def main() -> int:
    """0: it serves; 1: it does not, and standard error says what came instead."""
    parser = argparse.ArgumentParser(description="Whether a longmemory server serves.")
    parser.add_argument("service", nargs="?", default="", help="a gRPC service; none: the server")
    parser.add_argument("--server", default="127.0.0.1:7420", metavar="HOST:PORT")
    parser.add_argument("--timeout", type=float, default=4.0, metavar="SECONDS")
    parser.add_argument("--ca", type=Path, help="who signed the server's certificate; none: no TLS")
    parser.add_argument("--name", default="localhost", help="a name in that certificate")
    parser.add_argument("--certificate", type=Path, help="our own certificate, for mutual TLS")
    parser.add_argument("--key", type=Path, help="its key")
    asked = parser.parse_args()
    try:
        with _channel(asked) as channel:
            status = (
                health_pb2_grpc.HealthStub(channel)
                .Check(health_pb2.HealthCheckRequest(service=asked.service), timeout=asked.timeout)
                .status
            )
    except grpc.RpcError as error:
        sys.stderr.write(f"{error.code().name}: {error.details()}\n")
        return 1
    if status != SERVING:
        sys.stderr.write(f"{health_pb2.HealthCheckResponse.ServingStatus.Name(status)}\n")
    return int(status != SERVING)


def _channel(asked: argparse.Namespace) -> grpc.Channel:
    if asked.ca is None:
        return grpc.insecure_channel(asked.server)
    files = (asked.ca, asked.key, asked.certificate)
    ca, key, certificate = (file and file.read_bytes() for file in files)
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    # The probe asks its own machine by an address; the certificate names the service.
    named = (("grpc.ssl_target_name_override", asked.name),)
    return grpc.secure_channel(asked.server, credentials, named)


if __name__ == "__main__":
    sys.exit(main())
