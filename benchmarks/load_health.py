"""Asks a server's health every 50 ms; prints the milliseconds of each answer.

`python -m benchmarks.load_health ADDRESS SECONDS` is started by `benchmarks.load`.
"""

import sys
import time
from contextlib import closing

from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]

from service.client.calls import Calls

INTERVAL = 0.05  # seconds


def main() -> None:
    address, seconds = sys.argv[1], float(sys.argv[2])
    end = time.monotonic() + seconds
    request = health_pb2.HealthCheckRequest()
    with closing(Calls(address)) as calls:
        calls.call(calls.health.Check, request)  # the connection is made
        while time.monotonic() < end:
            began = time.perf_counter()
            calls.call(calls.health.Check, request)
            print(f"{(time.perf_counter() - began) * 1000:.3f}", flush=True)
            time.sleep(INTERVAL)


if __name__ == "__main__":
    main()
