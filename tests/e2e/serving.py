"""A service in a thread, and what clients send it."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
import zlib
from typing import Any

import cv2
import numpy as np
import uvicorn

from recon.serve.app import make_app
from recon.serve.connection import server_config
from recon.serve.service import Service
from recon.serve.upload import Limits

LIMITS = Limits(bytes=2 << 20, pixels=4_000_000, receive=2.0, answer=30.0, clients=4, head=2.0)


class Running:
    """The service in a thread, on a free port."""

    def __init__(self, service: Service, limits: Limits, **options: Any) -> None:
        self._server = uvicorn.Server(server_config(make_app(service, limits, **options), limits))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.02)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)

    def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, dict[str, str], dict[str, Any] | str]:
        """Status, headers, and the body: JSON's value, or text."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            link.request(method, path, body or None, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = link.getresponse()
            text = answer.read().decode()
            known = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, known, json.loads(text) if "json" in known.get("content-type", "") else text
        finally:
            link.close()

    def photo(self, data: bytes, path: str = "/localize", **headers: str) -> tuple[int, Any]:
        """Status and answer for a photo."""
        status, _, answer = self.ask("POST", path, data, **{"content_type": "image/jpeg", **headers})
        return status, answer

    def raw(self, head: str, body: bytes = b"", wait: float = 10.0) -> bytes:
        """What comes back for bytes of any kind."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as link:
            link.sendall(head.encode() + body)
            parts = []
            try:
                while part := link.recv(65536):
                    parts.append(part)
            except (TimeoutError, ConnectionResetError):
                pass
            return b"".join(parts)


def bomb(side: int = 30_000) -> bytes:
    """A PNG of a few kilobytes that decodes to 900 megapixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = zlib.compressobj(9)
    line = b"\0" * (side // 8 + 1)
    data = b"".join(rows.compress(line) for _ in range(side)) + rows.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def foreign() -> bytes:
    """A photo of nothing that the map knows."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (360, 480), np.uint8), (0, 0), 2)
    return cv2.imencode(".jpg", cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX))[1].tobytes()
