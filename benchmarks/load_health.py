"""Asks a server's health every 50 ms; prints the milliseconds of each answer.

`python -m benchmarks.load_health ADDRESS SECONDS` is started by `benchmarks.load`.
"""

import sys
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

INTERVAL = 0.05  # seconds


def main() -> None:
    address, seconds = sys.argv[1], float(sys.argv[2])
    end = time.monotonic() + seconds
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        stub.Check(health_pb2.HealthCheckRequest(), timeout=10)  # the connection is made
        while time.monotonic() < end:
            began = time.perf_counter()
            stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
            print(f"{(time.perf_counter() - began) * 1000:.3f}", flush=True)
            time.sleep(INTERVAL)


if __name__ == "__main__":
    main()
