"""Where a door of the service listens, and whether other machines reach it."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import ClassVar


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address such as "127.0.0.1:0" or "unix:/path"."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def split_address(address: str) -> tuple[str, int]:
    """Host, without the brackets of IPv6, and port. Raises ValueError for what is not HOST:PORT."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """HOST:PORT of a door, port 0 for any free one.

    Raises ValueError for what is no address, and for one that other machines reach, unless insecure.
    """

    NAME: ClassVar[str]  # of the setting
    OPEN: ClassVar[str]  # what is wrong with an address that others reach, and the mend

    text: str
    insecure: bool = False

    def __post_init__(self) -> None:
        try:
            split_address(self.text)
        except ValueError:
            raise ValueError(
                f"{self.NAME} is {self.text!r}; write it as HOST:PORT, such as 127.0.0.1:7421"
            ) from None
        if not (self.insecure or is_loopback(self.text)):
            raise ValueError(
                f"{self.NAME} is {self.text!r}, which other machines can reach, and {self.OPEN}"
            )

    @property
    def host(self) -> str:
        return split_address(self.text)[0]

    @property
    def port(self) -> int:
        return split_address(self.text)[1]

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def url(self, port: int) -> str:
        """The address in a browser, with the port that was bound."""
        return f"http://{self.text.rpartition(':')[0]}:{port}"
