"""``recon serve``: localisation over HTTP."""

from __future__ import annotations

import ipaddress
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer


def serve(
    map_folder: Annotated[Path, typer.Option("--map", "-m", help="A map of `recon sfm`.", show_default=False)],
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    token: Annotated[
        str, typer.Option(envvar="RECON_TOKEN", help="That clients must show; better given as RECON_TOKEN.")
    ] = "",
    photos: Annotated[int, typer.Option(help="Photos of the map, the most similar, to match with.")] = 10,
    max_error: Annotated[float, typer.Option(help="Largest error of an inlier, px at 1,600 px.")] = 4.0,
    max_bytes: Annotated[int, typer.Option(min=1, help="Of a photo's file.")] = 30 << 20,
    max_pixels: Annotated[int, typer.Option(min=1, help="Of a photo.")] = 100_000_000,
    clients: Annotated[int, typer.Option(min=1, help="Photos received, waiting or worked on at once.")] = 16,
    receive_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds in which a photo must arrive.")] = 20.0,
    head_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds in which a request's head must arrive.")] = 10.0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until the answer, waiting included.")] = 60.0,
) -> None:
    """Keep a map in memory and tell over HTTP where photos were taken; open the address in a browser to drop one.

    curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' 'http://127.0.0.1:8000/localize?name=photo.jpg'

    GET /health says how full it is, GET /openapi.json what can be asked. One JSON line per request goes to standard
    error. Put a reverse proxy with TLS in front of it before it listens to more than this machine.

    Exit codes: 130 ended by Ctrl-C, 2 wrong option, a port in use, the extra is missing, or another descriptor than the
    map's, 3 no map.
    """
    from pipelines.core.errors import ConfigError

    token = token.strip()
    if not token and not _loopback(host):
        raise ConfigError(
            f"Whoever reaches {host} could use this service", "it is no loopback address and there is no token",
            "RECON_TOKEN=… recon serve, or leave --host out",
        )  # fmt: skip
    try:
        import uvicorn

        from recon.serve.app import LOG, LOOPBACK, JsonLines, make_app
        from recon.serve.connection import check_port, server_config
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] not in ("fastapi", "uvicorn", "starlette", "h11"):
            raise
        raise ConfigError(
            "recon serve needs FastAPI and uvicorn", f"{error.name} is not installed", "pip install 'recon[serve]'"
        ) from error
    from pipelines.localize.map import load_map
    from pipelines.localize.query import LocalizeConfig
    from recon.cli.terminal import progress_for
    from recon.serve.service import Service
    from recon.serve.upload import Limits

    check_port(host, port)  # before the map is read, which takes a while
    target = load_map(map_folder, progress=progress_for(False))
    service = Service(target, LocalizeConfig(photos=photos, max_error=max_error))
    limits = Limits(max_bytes, max_pixels, receive_timeout, timeout, clients, head_timeout)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for log in (LOG, logging.getLogger("uvicorn.error")):
        log.handlers, log.propagate = [handler], False
        log.setLevel(logging.INFO)
    app = make_app(service, limits, token=token, hosts=LOOPBACK if _loopback(host) else ())
    uvicorn.Server(server_config(app, limits, host=host, port=port)).run()


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
