"""Secrets stay where they were put: planted in every setting that holds one, then looked for.

The whole system runs on a server with a password, verbs and programs fail with tracebacks and
without, a deploy event is careless; then everything that was written, served or shown is searched.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from quantum_ops import client, streams
from quantum_ops.ledger import ed25519
from quantum_ops.permits import new_key
from quantum_ops.settings import RedisSettings
from tests.servers import Server
from tests.supervised import System, free_port
from tests.waiting import wait_until

# A whole system, and a dozen verbs on it: on a busy machine that takes its time.
pytestmark = [pytest.mark.slow, pytest.mark.whole, pytest.mark.timeout(400)]

REDIS, API_KEY, API_SECRET, RECONCILE, AUDIT, URL_LOGIN, NOTE = (
    f"canary{number}f00d5eed" for number in range(7)
)
SETTINGS = {
    "BINANCE_API_KEY": API_KEY,
    "BINANCE_API_SECRET": API_SECRET,
    "P33_RECONCILE_KEY": RECONCILE,
    "REDIS_AUDIT_USERNAME": "default",
    "REDIS_AUDIT_PASSWORD": REDIS,
}


class Planted:
    """A system whose settings are full of canaries, on a server with a password."""

    def __init__(self) -> None:
        self.server = Server("valkey")
        self.server.connect().config_set("requirepass", REDIS)
        self.url = f"unix://:{REDIS}@{self.server.socket}"
        self.system = System()
        self.pages = [free_port(), free_port()]
        env = self.system.folder / "env"
        env.mkdir(mode=0o700)
        ed25519.make(env / "ledger.pem")
        new_key(env / "p33.pem")
        lines = {
            **SETTINGS,
            "REDIS_URL": self.url,
            "LEDGER_KEY": str(env / "ledger.pem"),
            "P33_SIGNING_KEY": str(env / "p33.pem"),
            "UNIVERSE_URL": "http://127.0.0.1:1",
            "POSITIONS_URL": "http://127.0.0.1:1",
            "REDIS_TIMEOUT_SEC": "2",
        }
        file = env / "secrets.env"
        file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        file.chmod(0o600)
        self.env = env
        self.system.environ |= {
            "QUANTUM_STATUS_PAGE_PORT": str(self.pages[0]),
            "QUANTUM_EXPORTER_PORT": str(self.pages[1]),
        }
        self.said: dict[str, bytes] = {}

    @property
    def canaries(self) -> dict[str, bytes]:
        """Every secret, by what it is; of the keys the raw bytes in base64 and as they stand."""
        found = {name: value.encode() for name, value in SETTINGS.items() if "USER" not in name}
        for name in ("ledger.pem", "p33.pem"):
            body = "".join((self.env / name).read_text().splitlines()[1:-1])
            found[name] = body[-43:].rstrip("=").encode()
            found[f"{name} raw"] = base64.b64decode(body)[-32:]
        return found | {"login of a URL": URL_LOGIN.encode(), "a note": NOTE.encode()}

    def verb(
        self, *argv: str, timeout_s: float = 90, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb, and remember what it said."""
        done = self.system.verb(*argv, timeout_s=timeout_s, **environ)
        self.said[f"{' '.join(argv)} {sorted(environ)}"] = (done.stdout + done.stderr).encode()
        return done

    def program(self, *argv: str, **environ: str) -> None:
        """Run a program that cannot work to its end, and remember what it said."""
        done = subprocess.run(
            [sys.executable, *argv], cwd=self.system.tree, capture_output=True, check=False,
            env={**self.system.environ, **environ}, timeout=60,
        )  # fmt: skip
        assert done.returncode
        self.said[f"{' '.join(argv)} {sorted(environ)}"] = done.stdout + done.stderr

    def served(self) -> None:
        """Remember the pages."""
        page, exporter = (f"http://127.0.0.1:{port}" for port in self.pages)
        for url in (f"{page}/", f"{page}/verdict", f"{exporter}/metrics"):
            self.said[url] = requests.get(url, timeout=20).content

    def processes(self) -> None:
        """Remember the command line of everything that runs here, and of git's like the environ."""
        for place in Path("/proc").glob("[0-9]*"):
            try:
                environ = (place / "environ").read_bytes()
                if str(self.system.folder).encode() not in environ:
                    continue
                self.said[f"ps {place.name}"] = (place / "cmdline").read_bytes()
                self.said[f"environ {place.name}"] = environ
            except OSError:
                continue  # it has ended, or is somebody else's

    def redis(self) -> None:
        """Remember every key, but for what somebody sent with a secret in it."""
        db = client.connect(RedisSettings(url=self.url))
        for key in db.scan_iter(count=1000):
            if key != streams.DEPLOY_COMPLETED.key.encode():
                kind = db.type(key)
                if kind == b"stream":
                    self.said[f"key {key}"] = repr(db.xrange(key)).encode()
                elif kind == b"hash":
                    self.said[f"key {key}"] = repr(db.hgetall(key)).encode()
                elif kind == b"string":
                    self.said[f"key {key}"] = db.get(key)

    def files(self) -> None:
        """Remember every file but those that the canaries were put into."""
        for base in (self.system.home, self.system.tree, self.system.paths.run_dir):
            for path in base.rglob("*"):
                if path.is_file() and not path.is_symlink() and ".git" not in path.parts:
                    self.said[f"file {path}"] = path.read_bytes()

    def close(self) -> None:
        self.system.verb("stop")
        self.system.close()
        self.server.close()


@pytest.fixture(scope="module")
def planted():
    made = Planted()
    try:
        started = made.verb("start", "--wait", "150", timeout_s=180)
        assert "canary" not in started.stdout + started.stderr
        _live(made)
        yield made
    finally:
        made.close()


def _live(made: Planted) -> None:
    """What happens to a system on a bad day."""
    db = client.connect(RedisSettings(url=made.url))
    deploy = {
        "operation": "careless", "objective": "o", "risk_class": "READ_ONLY", "blast_radius": "b",
        "changes_summary": f"set password={NOTE} for it", "notes": f"API_SECRET: {NOTE}",
        "metrics_urls": f"http://me:{URL_LOGIN}@127.0.0.1:1/metrics",
        "redis_cmds": f"AUTH {NOTE}\nGET quantum:secret",
    }  # fmt: skip
    db.xadd(streams.DEPLOY_COMPLETED.key, deploy)
    db.xadd(streams.DEPLOY_COMPLETED.key, {**deploy, "risk_class": "NONE"})
    wait_until(lambda: db.xlen(streams.LEDGER_RECORDED.key) >= 1, 60, "the deploy is recorded")
    wait_until(lambda: db.xlen(streams.DEAD_LETTER.key) >= 1, 30, "and the wrong one refused")
    for argv in (
        ("status",), ("doctor",), ("tail", "-n", "50"), ("dlq", "list"), ("logs",),
        ("ledger", "list"), ("redis-cli", "PING"), ("publish", "deploy", "--operation", "x"),
    ):  # fmt: skip
        made.verb(*argv)
    # Failures before and behind the connection, and with a traceback
    wrong = f"unix://:{REDIS}x@{made.server.socket}"
    for url in (wrong, f"redis://u:{REDIS}/x@127.0.0.1:1/0", f"redis://:{REDIS}@["):
        made.verb("lag", REDIS_URL=url)
    made.program("-m", "consumers", "p33", REDIS_URL=f"http://u:{REDIS}@h")
    made.program("-m", "consumers", "p33", REDIS_URL=wrong)
    made.program("-m", "producers", "positions", POSITIONS_REFRESH_SEC="never")
    made.program("-X", "dev", "-c", f"import sys; sys.path.insert(0, {str(made.system.tree)!r})\n"
                 "from quantum_ops import knobs, client, settings\n"
                 "all_of_it = [knobs.load(one) for one in settings.SECTIONS]\n"
                 "raise RuntimeError(all_of_it, client.connect())")  # fmt: skip
    made.served()
    made.processes()
    made.redis()
    made.files()


def found(planted: Planted, *kinds: str) -> list[str]:
    """Where a canary stands among what was said of these kinds."""
    return [
        f"{what} in {place}"
        for place, text in planted.said.items()
        if not kinds or place.startswith(kinds)
        for what, secret in planted.canaries.items()
        if secret in text
    ]


def around(planted: Planted, lines: list[str]) -> list[bytes]:
    """What stands around the first canary of each place: who reads a red test needs to know."""
    told = []
    for line in lines:
        what, _, place = line.partition(" in ")
        text = planted.said[place]
        at = text.index(planted.canaries[what])
        told.append(text[max(0, at - 60) : at + 40])
    return told


def test_every_place_was_looked_at_and_holds_what_it_should(planted):
    """A search that looks nowhere finds nothing."""
    said = planted.said
    assert b"quantum_" in said[f"http://127.0.0.1:{planted.pages[1]}/metrics"]
    assert any(b"consumers" in text for place, text in said.items() if place.startswith("ps "))
    assert any(place.endswith("ledger-00.log") and text for place, text in said.items())
    assert any("OPS_CHANGELOG.md" in place and b"careless" in text for place, text in said.items())
    assert any(b"***" in text for text in said.values()), "a password is starred somewhere"
    assert any(b"Traceback" in text for place, text in said.items() if place.startswith("-X dev"))
    # and it finds what is there: the environment of a process that was given a secret by name
    planted.said["planted"] = f"x {API_SECRET} y".encode()
    assert found(planted, "planted") == ["BINANCE_API_SECRET in planted"]
    del planted.said["planted"]


def test_no_secret_is_said_served_or_shown(planted):
    told = [
        line
        for line in found(planted)
        if not line.partition(" in ")[2].startswith(("environ ", "file "))
    ]
    # The dead letter keeps what was sent byte for byte, for the requeue, and tail shows what stands
    # in streams: a secret that somebody sent is there. Settings are not.
    sent = f"in key {streams.DEAD_LETTER.key.encode()}", " in tail "
    senders = "a note", "login of a URL"
    bad = [
        line
        for line in told
        if not (line.startswith(senders) and any(place in line for place in sent))
    ]
    assert bad == [], around(planted, bad)


def test_no_secret_stands_in_a_file_that_others_may_read(planted):
    held = [line.partition(" in file ") for line in found(planted, "file ")]
    archive = str(planted.system.home / "archive")
    bad = [
        f"{what} in {path}"
        for what, _, path in held
        # The archive keeps what was sent, byte for byte; our note of the server is for us alone.
        if not (what in ("a note", "login of a URL") and path.startswith(archive))
        and not (path == str(planted.system.paths.current_env) and what == "REDIS_AUDIT_PASSWORD")
    ]
    assert bad == [], around(planted, [line.replace(" in /", " in file /") for line in bad])
    for _, _, path in held:
        assert Path(path).stat().st_mode & 0o077 == 0, (
            f"{path} holds a secret and others may read it"
        )


def test_only_a_program_that_needs_a_secret_has_it_in_its_environment(planted):
    # given the settings in a file, nobody's environment holds them but for the server's address
    assert {line.partition(" in ")[0] for line in found(planted, "environ ")} <= {
        "REDIS_AUDIT_PASSWORD"
    }
