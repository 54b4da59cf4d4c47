"""``recon serve``: answers, refusals, hostile clients in numbers, and the page in a real browser."""

from __future__ import annotations

import base64
import io
import json
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browser import CHROMIUM, Browser
from command import assert_refused, recon
from PIL import Image as Pil

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from serving import LIMITS, Running, bomb, foreign

from recon.serve.upload import shown_name

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
        assert answer["try"] and "Try" not in answer["error"], answer  # as the page puts them together


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
    assert_refused(recon("serve", "--map", small_map / "no", "--port", "0"), 3, "no finished map")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_refused(recon("serve", "--map", small_map, "--port", port), 2, f"port {port}", "in use")
    import builtins

    real = builtins.__import__

    def without(name: str, *more: Any, **named: Any) -> Any:
        if name.split(".")[0] == "uvicorn":
            raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert_refused(recon("serve", "--map", small_map), 2, "uvicorn", "recon[serve]")


# --- the page ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page in")
def test_a_photo_dropped_on_the_page_appears_as_a_camera_in_the_map(running, query, service, tmp_path):
    browser = Browser(tmp_path / "profile", f"http://127.0.0.1:{running.port}/")
    try:
        browser.wait("document.readyState === 'complete' && !!window.reconViewer")
        assert not browser.run("document.getElementById('stage').classList.contains('broken')"), "no WebGL"
        assert browser.run("reconViewer.model.cameras.length") == 12
        # The first view has all cameras in it, also where all stand far away, as behind a long lens.
        unseen = """((factor) => {
          const { model, control, canvas } = reconViewer, near = model.cameras;
          model.cameras = near.map((camera) => ({ ...camera, centre: camera.centre.map((x) => factor * x) }));
          reconViewer.reset(false);
          const places = model.cameras.map((camera) => control.project(camera.centre));
          model.cameras = near;
          reconViewer.reset(false);
          const inside = (x, y) => x > 0 && y > 0 && x < canvas.clientWidth && y < canvas.clientHeight;
          return places.filter(([x, y, depth]) => depth <= 0 || !inside(x, y)).length;
        })(%d)"""
        assert [browser.run(unseen % factor) for factor in (1, 7)] == [0, 0]
        data = base64.b64encode(query).decode()
        drop = """(async () => {
          const bytes = Uint8Array.from(atob("%s"), (c) => c.charCodeAt(0)), given = new DataTransfer();
          given.items.add(new File([bytes], "<b>" + "my".repeat(70) + ".jpg", { type: "image/jpeg" }));
          document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: given, bubbles: true }));
        })()"""
        browser.run(drop % data)
        browser.wait("document.getElementById('answer').dataset.verdict === 'found' && !!reconViewer.guest")
        assert "<b>mymy" in browser.run("document.getElementById('reason').textContent")
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), "a long name widens the page"
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
        # What is no photo is named, and no broken picture stands beside it.
        browser.run(drop % base64.b64encode(b"no photo").decode())
        browser.wait("document.getElementById('answer').dataset.verdict === 'error'")
        assert browser.run("document.getElementById('reason').textContent").startswith("<b>mymy")
        assert browser.wait("document.getElementById('query').hidden")
    finally:
        browser.close()
