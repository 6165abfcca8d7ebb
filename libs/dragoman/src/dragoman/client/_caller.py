"""What every part of the client stands on: the wire, the addresses, and whether a server speaks our version."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from dragoman import __version__
from dragoman.client._addresses import Addresses
from dragoman.client._records import ServerInfo, server_info
from dragoman.client._wire import Wire
from dragoman.errors import FailedPrecondition
from dragoman.job.v1 import job_service_pb2 as pb
from dragoman.rpc.info import API_VERSION
from dragoman.rpc.methods import GET_SERVER_INFO


class Caller:
    """Holds the connections; for the arguments see AsyncClient."""

    def __init__(
        self,
        addresses: Mapping[str, str] | Addresses | None = None,
        *,
        home: Path | None = None,
        timeout: float = 60.0,
        patience: float = 30.0,
    ) -> None:
        if addresses is None:
            addresses = Addresses.find(os.environ, home)
        elif not isinstance(addresses, Addresses):
            addresses = Addresses(addresses)
        self.addresses = addresses
        self._wire = Wire(addresses, timeout, patience)
        self._checked: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._wire.close()

    async def _check_version(self, address: str) -> None:
        """Asks a server, once, whether it speaks our version of the API."""
        if address in self._checked:
            return
        info = await self._info(address)
        if info.api_version != API_VERSION:
            raise FailedPrecondition(
                f"the {info.service} server at {address} is version {info.version} and speaks API "
                f"{info.api_version!r}, "
                f"this client is version {__version__} and speaks API {API_VERSION!r}; "
                "install the same version on both sides",
                reason="VERSION_SKEW",
            )
        self._checked.add(address)

    async def _info(self, address: str, *, patient: bool = True) -> ServerInfo:
        answer = await self._wire.call(GET_SERVER_INFO, pb.GetServerInfoRequest(), address, patient=patient)
        return server_info(answer, address)
