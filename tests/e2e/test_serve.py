"""``recon serve``: answers, refusals, hostile clients in numbers, and the page in a real browser."""

from __future__ import annotations

import base64
import http.client
import io
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from browser import CHROMIUM, Browser
from command import assert_refused, recon
from PIL import Image as Pil

from pipelines.core.progress import Silent
from pipelines.localize.map import load_map
from pipelines.localize.query import LocalizeConfig

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

import uvicorn

from recon.serve.app import LOG, JsonLines, make_app
from recon.serve.connection import server_config
from recon.serve.service import Service
from recon.serve.upload import Limits, shown_name

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


@pytest.fixture(scope="module")
def service(small_map: Path) -> Service:
    return Service(load_map(small_map, progress=Silent()), LocalizeConfig())


@pytest.fixture(scope="module")
def running(service: Service) -> Iterator[Running]:
    server = Running(service, LIMITS)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def query(sample_data: Path) -> bytes:
    return (sample_data / "query" / "images" / "query_near.jpg").read_bytes()


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


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_photo_is_answered_as_on_the_command_line(running, query, small_map, sample_data):
    status, answer = running.photo(query, "/localize?name=query_near.jpg")
    assert status == 200 and answer["verdict"] == "found" and "view" not in answer
    outcome = recon("localize", sample_data / "query" / "images" / "query_near.jpg", "--map", small_map, "--json")
    (told,) = json.loads(outcome.out)["queries"]
    assert {**answer, "seconds": 0} == {**told, "seconds": 0}
    status, answer = running.photo(foreign())
    assert status == 200 and answer["verdict"] == "not found" and answer["pose"] is None


def test_intrinsics_of_a_request_are_used_and_never_read_from_a_file(running, query, sample_data, tmp_path):
    k = json.loads((sample_data / "query" / "cameras.json").read_text())["photos"]["query_near.jpg"]["K"]
    status, answer = running.photo(query, f"/localize?intrinsics={k[0][0]},{k[1][1]},{k[0][2]},{k[1][2]}")
    assert status == 200 and answer["pose"]["intrinsics"]["origin"] == "given"
    secret = tmp_path / "secret.json"
    secret.write_text('{"fx": 900, "fy": 900, "cx": 512, "cy": 384}')
    for wrong in (str(secret), "1,2", "nan,nan,nan"):
        status, answer = running.photo(query, f"/localize?intrinsics={wrong}")
        assert status == 422 and "intrinsics" in answer["error"], answer


def test_health_and_description(running, service):
    status, _, health = running.ask("GET", "/health")
    assert status == 200 and health["status"] == "ok" and health["photos"] == 12 and health["points"] > 500
    assert health["clients"] == {"inside": 0, "at_most": 4}
    status, _, described = running.ask("GET", "/openapi.json")
    post = described["paths"]["/localize"]["post"]
    assert set(post["requestBody"]["content"]) >= {"image/jpeg", "image/png"}
    assert set(post["responses"]) >= {"200", "401", "408", "413", "415", "422", "503", "504"}
    assert running.ask("GET", "/nothing")[0] == 404 and running.ask("GET", "/localize")[0] == 405


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_what_is_no_proper_photo_gets_the_right_status(running, query, tmp_path):
    for data in (b"", b"no photo at all", query[: len(query) // 2], b"\xff\xd8\xff\xe0" + b"\0" * 500):
        assert running.photo(data)[0] == 422, data[:20]
    assert running.photo(query, content_type="text/html")[0] == 415
    assert running.photo(query, content_type="multipart/form-data; boundary=x")[0] == 415
    status, answer = running.photo(bomb(), content_type="image/png")
    assert status == 413 and "30000 x 30000" in answer["error"]
    huge = io.BytesIO()
    Pil.new("L", (2100, 2100)).save(huge, "JPEG")
    assert running.photo(huge.getvalue())[0] == 413


def test_too_many_bytes_are_refused_unread(running):
    head = "POST /localize HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    assert running.raw(head + "Content-Length: 99999999999\r\n\r\n").startswith(b"HTTP/1.1 413")
    chunks = b"".join(b"80000\r\n" + b"x" * 0x80000 + b"\r\n" for _ in range(5))
    assert running.raw(head + "Transfer-Encoding: chunked\r\n\r\n", chunks).startswith(b"HTTP/1.1 413")
    begin = time.monotonic()
    slow = running.raw(head + "Content-Length: 1000\r\n\r\n", b"only this")
    assert slow.startswith(b"HTTP/1.1 408") and time.monotonic() - begin < 8


def test_a_head_that_comes_too_slowly_is_not_waited_for(running, query):
    """Nothing, a part, or a byte a while; on a fresh connection and after a request that was answered."""
    begin = time.monotonic()
    with ThreadPoolExecutor(3) as pool:
        silent = pool.submit(running.raw, "")
        partial = pool.submit(running.raw, "POST /localize HTTP/1.1\r\nHost: loc")
        second = pool.submit(running.raw, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal")
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as link:
            try:
                for char in b"GET /health HTTP/1.1\r\nHost: localhost\r\n":
                    link.sendall(bytes([char]))
                    time.sleep(0.2)
            except (BrokenPipeError, ConnectionResetError):
                pass
            assert link.recv(100).startswith(b"HTTP/1.1 408")
    assert silent.result().startswith(b"HTTP/1.1 408") and partial.result().startswith(b"HTTP/1.1 408")
    assert second.result().startswith(b"HTTP/1.1 200") and time.monotonic() - begin < 15
    # One that is in time may take as long for its body as bodies may.
    status, answer = running.photo(query)
    assert status == 200 and answer["verdict"] == "found"


def test_names_are_only_shown(running, query):
    before = set(Path(tempfile.gettempdir()).glob("recon-query-*"))
    for name in ("..%2F..%2Fetc%2Fpasswd", "C%3A%5Ca%5Cpasswd", "a%00b%0Apasswd", "x" * 5000):
        status, answer = running.photo(query, f"/localize?name={name}")
        assert status == 200 and "/" not in answer["query"] and "\\" not in answer["query"]
        assert answer["query"].isprintable() and len(answer["query"]) <= 120
    assert set(Path(tempfile.gettempdir()).glob("recon-query-*")) <= before
    assert shown_name("../../etc/passwd") == "passwd" and shown_name("..\\") == "photo" and shown_name("\n") == "photo"


def test_another_host_and_a_missing_token_are_refused(service, running, query):
    assert running.ask("GET", "/health", Host="evil.example:80")[0] == 421
    assert running.ask("GET", "/health", Host="localhost:1")[0] == 200
    guarded = Running(service, LIMITS, token="s3cret", hosts=())
    try:
        assert guarded.ask("GET", "/health", Host="maps.example")[0] == 200
        for wrong in ("", "Bearer", "Bearer other", "Basic s3cret", "Digest s3cret"):
            status, known, _ = guarded.ask("GET", "/", authorization=wrong)
            assert status == 401 and known["www-authenticate"].startswith("Basic")
        assert guarded.photo(query)[0] == 401
        assert guarded.photo(query, authorization="Bearer s3cret")[0] == 200
        basic = base64.b64encode(b"anyone:s3cret").decode()
        assert guarded.ask("GET", "/", authorization=f"Basic {basic}")[0] == 200
    finally:
        guarded.stop()


def test_the_command_refuses_open_addresses_without_a_token_and_says_what_to_install(small_map, monkeypatch):
    assert_refused(recon("serve", "--map", small_map, "--host", "0.0.0.0"), 2, "no token", "RECON_TOKEN")
    assert_refused(recon("serve", "--map", small_map / "no"), 3, "no finished map")
    import builtins

    real = builtins.__import__

    def without(name: str, *more: Any, **named: Any) -> Any:
        if name.split(".")[0] == "uvicorn":
            raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert_refused(recon("serve", "--map", small_map), 2, "uvicorn", "recon[serve]")


# --- many at once -----------------------------------------------------------------------------------------------------


def test_fifty_clients_good_and_bad_at_once(running, query, capfd):
    """Every answer is one that the description names, and the memory stays within what the limits allow."""
    running.photo(query)
    process = psutil.Process()
    before, most, done = process.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most[0] = max(most[0], process.memory_info().rss)

    threading.Thread(target=watch, daemon=True).start()
    head = "POST /localize HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    blast = bomb()

    def leave(text: str) -> int:
        running.raw(text, b"x", wait=0.05)
        return 0

    kinds = {
        "good": lambda: running.photo(query)[0],
        "other": lambda: running.photo(foreign())[0],
        "broken": lambda: running.photo(query[:5000])[0],
        "bomb": lambda: running.photo(blast, content_type="image/png")[0],
        "type": lambda: running.photo(query, content_type="text/plain")[0],
        "huge": lambda: int(running.raw(head + "Content-Length: 999999999\r\n\r\n")[9:12]),
        "slow": lambda: int(running.raw(head + "Content-Length: 5000\r\n\r\n", b"x")[9:12]),
        "head": lambda: int(running.raw(head + "X-Slow: ")[9:12]),
        "noise": lambda: int(running.raw("\x16\x03\x01 garbage\r\n\r\n")[9:12] or 400),
        "path": lambda: running.photo(query, "/localize?name=../../../etc/passwd")[0],
        "gone": lambda: leave(head + "Content-Length: 5000\r\n\r\n"),
    }
    names = [name for name in kinds for _ in range(5)]
    with ThreadPoolExecutor(len(names)) as pool:
        statuses = list(pool.map(lambda name: kinds[name](), names))
    done.set()
    allowed = {
        "good": {200, 503}, "other": {200, 503}, "broken": {422, 503}, "bomb": {413, 503}, "type": {415},
        "huge": {413}, "slow": {408, 503}, "head": {408}, "noise": {400}, "path": {200, 503}, "gone": {0},
    }  # fmt: skip
    wrong = [(name, status) for name, status in zip(names, statuses, strict=True) if status not in allowed[name]]
    assert not wrong, wrong
    assert Counter(statuses)[503] > 0, "four places were enough for fifty clients"
    # A decoded bomb alone would be 900 MB; limits allow four photos of 4 megapixels and their features.
    assert most[0] - before < 300 << 20, f"{(most[0] - before) >> 20} MB more"
    end = time.monotonic() + 30
    while running.ask("GET", "/health")[2]["clients"]["inside"] and time.monotonic() < end:
        time.sleep(0.1)
    assert running.ask("GET", "/health")[2]["clients"]["inside"] == 0
    assert running.photo(query)[1]["verdict"] == "found"


def test_a_full_queue_says_when_to_come_back_and_late_answers_are_dropped(service, query):
    slow = Running(service, Limits(clients=1, answer=0.01))
    try:
        status, _ = slow.photo(query)
        assert status == 504
        status, known, _ = slow.ask("POST", "/localize", query, content_type="image/jpeg")
        # The first photo's thread may have ended by now; until then its place is taken.
        assert status in (503, 504)
        if status == 503:
            assert int(known["retry-after"]) >= 1
    finally:
        slow.stop()


def test_each_request_is_a_line_of_json(running, query):
    import logging

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    try:
        running.photo(query, "/localize?name=a%0Ab.jpg")
        running.photo(b"x")
    finally:
        LOG.removeHandler(handler)
    good, bad = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (
        good["status"] == 200
        and good["verdict"] == "found"
        and good["bytes"] == len(query)
        and good["name"] == "ab.jpg"
    )
    assert bad["status"] == 422 and bad["path"] == "/localize" and bad["event"] == "request"


def test_a_restart_loses_nothing(small_map, query):
    """Told to end while it works, it still answers; started again, it answers the same; the map is as it was."""

    def start() -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, "-m", "recon", "serve", "--map", str(small_map), "--port", "0"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                return process, int(found[1])
        raise AssertionError(f"it ended with {process.wait()}")

    def post(port: int) -> tuple[int, dict[str, Any]]:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        link.request("POST", "/localize", query, {"content-type": "image/jpeg"})
        answer = link.getresponse()
        return answer.status, json.loads(answer.read())

    before = {path: path.stat().st_mtime_ns for path in small_map.rglob("*")}
    answers = []
    for _ in range(2):
        process, port = start()
        try:
            assert post(port)[0] == 200
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(post, port)
                time.sleep(0.1)
                process.send_signal(signal.SIGTERM)
                answers.append(asked.result())
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert [status for status, _ in answers] == [200, 200]
    first, again = ({**answer, "seconds": 0} for _, answer in answers)
    assert first == again and first["verdict"] == "found"
    assert {path: path.stat().st_mtime_ns for path in small_map.rglob("*")} == before


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page in")
def test_a_photo_dropped_on_the_page_appears_as_a_camera_in_the_map(running, query, service, tmp_path):
    browser = Browser(tmp_path / "profile", f"http://127.0.0.1:{running.port}/")
    try:
        browser.wait("document.readyState === 'complete' && !!window.reconViewer")
        assert not browser.run("document.getElementById('stage').classList.contains('broken')"), "no WebGL"
        assert browser.run("reconViewer.model.cameras.length") == 12
        data = base64.b64encode(query).decode()
        drop = """(async () => {
          const bytes = Uint8Array.from(atob("%s"), (c) => c.charCodeAt(0)), given = new DataTransfer();
          given.items.add(new File([bytes], "<b>my.jpg", { type: "image/jpeg" }));
          document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: given, bubbles: true }));
        })()"""
        browser.run(drop % data)
        browser.wait("document.getElementById('answer').dataset.verdict === 'found' && !!reconViewer.guest")
        assert "<b>my.jpg" in browser.run("document.getElementById('reason').textContent")
        assert browser.run("reconViewer.model.cameras.length") == 13
        # The camera stands where the answer says, in the page's own frame.
        answer = running.photo(query, "/localize?view=true")[1]
        drawn = answer["view"]["camera"]["centre"]
        np.testing.assert_allclose(browser.run("reconViewer.guest.centre"), drawn, atol=1e-6)
        near = service.localize(query, "q", "", LIMITS, False)["matched_with"][0]["name"]
        place = f"reconViewer.model.cameras[JSON.parse(data.textContent).names[0].indexOf({json.dumps(near)})].centre"
        assert np.linalg.norm(np.subtract(browser.run(place), drawn)) < 1.0  # scene radii
        # And it is painted: pixels of its colour, orange, are in the view.
        time.sleep(0.5)
        picture = cv2.imread(str(browser.picture(tmp_path / "page.png"))).astype(int)
        orange = (picture[:, :, 2] > 200) & (abs(picture[:, :, 1] - 90) < 60) & (picture[:, :, 0] < 60)
        assert orange.sum() > 50
        # A photo of nothing takes the camera away and says so.
        browser.run(drop % base64.b64encode(foreign()).decode())
        browser.wait("document.getElementById('answer').dataset.verdict === 'not found'")
        assert browser.run("reconViewer.guest === null && reconViewer.model.cameras.length") == 12
    finally:
        browser.close()
