"""A headless Chromium that a test talks to over a pipe: the DevTools protocol, without any further package."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")


class Browser:
    """One page of a browser of its own.

    Args:
        profile: folder for what it keeps.
        url: the page.
    """

    def __init__(self, profile: Path, url: str) -> None:
        ours_in, its_out = os.pipe()
        its_in, ours_out = os.pipe()
        flags = "--headless --no-sandbox --disable-quic --no-first-run --disable-sync --disable-background-networking"
        flags += " --disable-component-update --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
        flags += f" --window-size=1000,1150 --remote-debugging-pipe --user-data-dir={profile}"
        command = f"exec {CHROMIUM} {flags} about:blank 3<&{its_in} 4>&{its_out}"
        self._process = subprocess.Popen(
            ["bash", "-c", command], pass_fds=(its_in, its_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(its_in)
        os.close(its_out)
        self._in, self._out = ours_in, ours_out
        self._number, self._rest, self._session = 0, b"", ""
        target = self._ask("Target.createTarget", url=url)["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def _ask(self, method: str, **values: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": values}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            head, found, rest = self._rest.partition(b"\0")
            if not found:
                if select.select([self._in], [], [], 1)[0]:
                    self._rest += os.read(self._in, 1 << 20)
                continue
            self._rest = rest
            answer = json.loads(head)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
        raise TimeoutError(method)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page, awaited if it is a promise."""
        answer = self._ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 60.0) -> Any:
        """The first true value of an expression."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.run(script)
            if value:
                return value
            time.sleep(0.1)
        raise TimeoutError(script)

    def picture(self, path: Path) -> Path:
        """A PNG of the page."""
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"]))
        return path

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(20)
        os.close(self._in)
        os.close(self._out)
