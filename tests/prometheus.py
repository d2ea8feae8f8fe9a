"""The only place where tests run Prometheus, each on a port and in a folder of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.contract.reference import ROOT
from tests.supervised import free_port
from tests.waiting import wait_until

FOLDER = ROOT / "ops" / "prometheus"
STEP = "1s"
RATE = "8s"
"""What stands for ``$__rate_interval``: a few scrapes."""


def program(name: str) -> str:
    """Path of ``prometheus`` or ``promtool``; without it the test is skipped, but not in CI."""
    path = shutil.which(name)
    if path is None:
        reason = f"there is no {name} here (apt-get install --no-install-recommends prometheus)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def promtool(*argv: str, stdin: str = "", cwd: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    """Run promtool to its end."""
    return subprocess.run(
        [program("promtool"), *argv],
        cwd=cwd, input=stdin, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


class Prometheus:
    """A Prometheus that scrapes one exporter with the project's rules, once a second.

    ``patient`` keeps the time that an alert must hold; otherwise it fires with its condition.
    """

    def __init__(self, target: int, *, patient: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="qp-"))
        self.port = free_port()
        rules = (FOLDER / "alerts.yml").read_text()
        if not patient:
            rules = re.sub(r"(?m)^( +for: ).*$", r"\g<1>1s", rules)
        (self.folder / "alerts.yml").write_text(rules)
        config = (FOLDER / "prometheus.yml").read_text()
        config = config.replace("127.0.0.1:9790", f"127.0.0.1:{target}")
        config = re.sub(r"(?m)^(  (?:scrape|evaluation)_\w+: ).*$", rf"\g<1>{STEP}", config)
        (self.folder / "prometheus.yml").write_text(config)
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    program("prometheus"), f"--config.file={self.folder}/prometheus.yml",
                    f"--storage.tsdb.path={self.folder}/data",
                    f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn",
                ],
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def wait_scraped(self) -> None:
        """Wait for the first answer."""
        wait_until(lambda: self.query("up == 1"), 60, f"a scrape; see {self.folder}/log")

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series that ``expr`` gives now; nothing while Prometheus is not up."""
        try:
            return list(self._get("query", query=expr)["result"])
        except urllib.error.HTTPError as error:
            with error:
                told = error.read().decode()
            if error.code != 503:  # which it says until it has begun
                pytest.fail(f"{expr}: {told}")
            return []
        except OSError:
            return []

    def firing(self) -> dict[str, list[dict[str, Any]]]:
        """Alert name -> what fires under it: labels and annotations."""
        found: dict[str, list[dict[str, Any]]] = {}
        for alert in self._get("alerts")["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert)
        return found

    def close(self) -> None:
        """End it and remove its folder."""
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _get(self, what: str, **arguments: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]
