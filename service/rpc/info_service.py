"""InfoService: what this server runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from longmemory.v1 import info_pb2, info_pb2_grpc

from service.rpc import wire


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Facts about a server, fixed from its start."""

    version: str
    model_name: str
    model_fingerprint: str
    device: str
    dtype: str
    window_tokens: int
    embedder: str
    data_format: int


class InfoService(info_pb2_grpc.InfoServiceServicer):
    """Answers with the same facts every time."""

    def __init__(self, info: ServerInfo) -> None:
        self._info = info

    async def GetInfo(self, request: info_pb2.GetInfoRequest, context: Any) -> info_pb2.Info:
        """What the server runs."""
        return wire.info(self._info)
