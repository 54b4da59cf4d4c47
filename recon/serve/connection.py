"""Connections of the service: who sends the head of a request too slowly is sent away, as who sends a body so is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipelines.core.errors import ConfigError
from recon.serve.upload import Limits

if TYPE_CHECKING:
    from fastapi import FastAPI

_LATE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def server_config(app: FastAPI, limits: Limits, *, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Config:
    """How uvicorn runs the service.

    Args:
        app: the service.
        limits: what clients may send.
        host, port: where to listen; port 0 is any that is free.
    """

    class Protocol(_HurriedProtocol):
        seconds = limits.head

    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        limit_concurrency=4 * limits.clients + 64,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=10,
        server_header=False,
    )


def check_port(host: str, port: int) -> None:
    """Find out as uvicorn would, which ends the process, whether the service can listen.

    Raises:
        ConfigError: the port is taken, or the address is none of this machine.
    """

    async def listen() -> None:
        (await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)).close()

    try:
        asyncio.run(listen())
    except OSError as error:
        what, why = f"Nothing can listen on {host}, port {port}", error.strerror or str(error)
        raise ConfigError(what, why, "another --port, or --port 0 for any that is free") from error


class _HurriedProtocol(H11Protocol):
    """HTTP/1.1 whose requests must have a whole head within ``seconds`` of their first byte, or of the connection."""

    seconds: float
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The clock of the first request runs from here."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.seconds, self._too_late)

    def data_received(self, data: bytes) -> None:
        """It stops when the head is whole, and starts again with the next one's first byte."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.seconds, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is waited for."""
        self._stop()
        super().connection_lost(exc)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.write(_LATE)
            self.transport.close()
