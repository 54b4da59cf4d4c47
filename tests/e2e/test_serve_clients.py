"""``recon serve`` under many, slow and hostile clients at once, and when it is restarted."""

from __future__ import annotations

import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from serving import Running, bomb, foreign

from recon.serve.app import LOG, JsonLines
from recon.serve.upload import Limits


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
