"""The only place where tests drive a real browser: Chromium, over HTTP (WebDriver)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest

from tests.waiting import wait_until

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The name under which the protocol hands out elements."""
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-lcd-text",
    "--force-color-profile=srgb",
)  # fmt: skip


def installed() -> tuple[str, str] | None:
    """Paths of Chromium and of its driver, None if one is missing."""
    found = shutil.which("chromium"), shutil.which("chromedriver")
    return (found[0], found[1]) if found[0] and found[1] else None


class Browser:
    """One Chromium with a profile of its own; use it in a ``with``."""

    def __init__(self) -> None:
        paths = installed()
        if paths is None:
            reason = "no Chromium here (apt-get install chromium chromium-driver)"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        chromium, driver = paths
        self._folder = Path(tempfile.mkdtemp(prefix="qb-"))
        log = self._folder / "driver.log"
        with log.open("wb") as file:
            self._driver = subprocess.Popen([driver, "--port=0"], stdout=file, stderr=file)
        self._url = ""
        try:
            port = wait_until(lambda: _port(log), 20, "chromedriver tells its port")
            self._url = f"http://127.0.0.1:{port}"
            options = {"binary": chromium, "args": [*FLAGS, f"--user-data-dir={self._folder}/p"]}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            made = self._call("POST", "/session", capabilities={"alwaysMatch": wanted})
            self._url += f"/session/{made['sessionId']}"
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._call("DELETE", "")
        finally:
            self._end()

    def open(self, url: str) -> None:
        """Load a page."""
        self._call("POST", "/url", url=url)

    def run(self, script: str, *args: Any) -> Any:
        """What ``script`` (the body of a function) returns; elements come as :class:`str`."""
        return self._call("POST", "/execute/sync", script=script, args=list(args))

    def run_async(self, script: str, *args: Any) -> Any:
        """What ``script`` gives to its last argument, a callback."""
        return self._call("POST", "/execute/async", script=script, args=list(args))

    def text(self, selector: str) -> str:
        """The visible text of the first element there."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText", selector))

    def press(self, key: str) -> None:
        """Press and release a key (WebDriver's code points: Tab is \\ue004, Enter \\ue007)."""
        act = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._call("POST", "/actions", actions=[{"type": "key", "id": "keys", "actions": act}])

    def devtools(self, command: str, **params: Any) -> Any:
        """A command of the DevTools protocol."""
        return self._call("POST", "/goog/cdp/execute", cmd=command, params=params)

    def size(self, width: int, height: int = 900) -> None:
        """The viewport, in CSS pixels. No window manager has a say in it."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def scheme(self, name: str) -> None:
        """``light`` or ``dark``, as if the operator's desktop said so."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.devtools("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path) -> None:
        """The viewport as PNG."""
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def complaints(self) -> list[str]:
        """What the console has said since the last time, from warnings on."""
        lines = self._call("POST", "/se/log", type="browser")
        return [line["message"] for line in lines if line["level"] in ("WARNING", "SEVERE")]

    def _call(self, method: str, path: str, **body: Any) -> Any:
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(self._url + path, data, method=method)  # noqa: S310 - ours
        request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - ours
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                told = json.load(error)["value"]
            raise AssertionError(f"{told['error']}: {told['message'][:500]}") from None

    def _end(self) -> None:
        self._driver.terminate()
        try:
            self._driver.wait(10)
        except subprocess.TimeoutExpired:
            self._driver.kill()
            self._driver.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _port(log: Path) -> int:
    """The port that the driver says it listens on; 0 before it does."""
    for line in log.read_text(errors="replace").splitlines():
        if "started successfully on port" in line:
            return int(line.rstrip(".").rpartition(" ")[2])
    return 0
