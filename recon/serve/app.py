"""The HTTP service: what it answers to what request. Only this module and the command know FastAPI."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.requests import ClientDisconnect

from pipelines.core.errors import ReconError
from recon.serve.desk import Desk, FullError, LateError, Place
from recon.serve.schema import ERRORS, OPERATION
from recon.serve.service import Service
from recon.serve.upload import Limits, RefusedError, shown_name

LOG = logging.getLogger("recon.serve")
_TYPES = ("image/", "application/octet-stream")
_OPEN = ("/health",)
LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")


def make_app(service: Service, limits: Limits, *, token: str = "", hosts: tuple[str, ...] = LOOPBACK) -> FastAPI:
    """The application.

    Args:
        service: the map.
        limits: what clients may send.
        token: that they must show, as Bearer or as the password of Basic; '' for none.
        hosts: names that requests may be addressed to, so that no web page reaches a loopback service by a name of its
            own (DNS rebinding); () for any.
    """
    desk: Desk[dict[str, Any]] = Desk(limits.clients)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        desk.close()

    app = FastAPI(title="recon localisation", version=service.version, docs_url=None, redoc_url=None, lifespan=life)

    @app.middleware("http")
    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        begin, request.state.told = time.perf_counter(), {}
        host = request.headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if hosts and name not in hosts:
            answer: Response = _problem(421, f"this service is not {name!r}", "its own address")
        elif token and request.url.path not in _OPEN and not _shown(request.headers.get("authorization", ""), token):
            answer = _problem(401, "a token is needed", "Authorization: Bearer TOKEN")
            answer.headers["www-authenticate"] = 'Basic realm="recon"'
        else:
            try:
                answer = await go_on(request)
            except Exception:
                LOG.exception("failed")
                answer = _problem(500, "something went wrong on our side", "the service's log says what")
        answer.headers["x-content-type-options"] = "nosniff"
        record = {"method": request.method, "path": request.url.path, "status": answer.status_code}
        record |= {"seconds": round(time.perf_counter() - begin, 4), **request.state.told}
        LOG.info("request", extra={"record": record})
        return answer

    @app.get("/health", responses={200: {"description": "The service is up; how full it is."}})
    async def health() -> dict[str, Any]:
        return {"status": "ok", **service.facts, "clients": {"inside": desk.inside, "at_most": desk.size}}

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        policy = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        return HTMLResponse(service.page, headers={"content-security-policy": policy + "connect-src 'self'"})

    @app.post("/localize", openapi_extra=OPERATION, responses=ERRORS)
    async def localize(request: Request, name: str = "photo", intrinsics: str = "", view: bool = False) -> Response:
        """Where was this photo taken? The photo's bytes are the body; the answer is that of `recon localize --json`."""
        told = request.state.told
        told |= {"id": uuid.uuid4().hex[:12], "name": shown_name(name)}
        try:
            _check_head(request, limits)
            place: Place | None = desk.enter()
        except RefusedError as error:
            return _problem(error.status, error.what, error.try_)
        except FullError as error:
            answer = _problem(503, "too many photos at once", f"again in {error.seconds} s")
            answer.headers["retry-after"] = str(error.seconds)
            return answer
        try:
            data = await asyncio.wait_for(_body(request, limits), limits.receive)
            told["bytes"] = len(data)
            assert place is not None
            work = desk.work(place, lambda: service.localize(data, name, intrinsics, limits, view), limits.answer)
            place = None  # the desk gives it back, when its thread has ended with the photo
            result = await work
        except ClientDisconnect:
            return _problem(400, "the photo did not come whole")
        except TimeoutError:
            return _problem(408, f"the photo did not arrive within {limits.receive:g} s", "a smaller copy of it")
        except LateError:
            return _problem(504, f"there was no answer within {limits.answer:g} s", "again later")
        except RefusedError as error:
            return _problem(error.status, error.what, error.try_)
        except ReconError as error:
            return _problem(422, f"{error.what}: {error.why}" if error.why else error.what, error.try_)
        finally:
            if place is not None:
                place.leave()
        told |= {"verdict": result["verdict"], "stages": result["seconds"]}
        return JSONResponse(result)

    return app


def _problem(status: int, what: str, try_: str = "") -> JSONResponse:
    # The rest of a body that was not read must not be taken for the next request.
    head = {"connection": "close"} if status in (408, 413, 415, 503) else None
    return JSONResponse({"error": what, "try": try_}, status, headers=head)


def _check_head(request: Request, limits: Limits) -> None:
    """Refuse by the header alone what need not be read."""
    kind = request.headers.get("content-type", "")
    if kind and not kind.startswith(_TYPES):
        raise RefusedError(415, f"the content type is {kind!r}", "the photo's bytes as the body, with image/jpeg")
    told = request.headers.get("content-length", "0")
    if not told.isdigit() or int(told) > limits.bytes:
        raise RefusedError(413, f"the photo has more than {limits.bytes:,} bytes", "a smaller copy of it")


async def _body(request: Request, limits: Limits) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limits.bytes:
            raise RefusedError(413, f"the photo has more than {limits.bytes:,} bytes", "a smaller copy of it")
        parts.append(part)
    return b"".join(parts)


def _shown(header: str, token: str) -> bool:
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(value.strip().encode(), token.encode())


class JsonLines(logging.Formatter):
    """Each record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"
        line = {"time": stamp, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "record", {})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
