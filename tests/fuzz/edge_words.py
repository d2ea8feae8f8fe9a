"""The parsers that read what people type and settings say: URLs, paths, names, offsets."""

from __future__ import annotations

import functools
import os
import tempfile
import urllib.parse
from datetime import UTC, datetime
from pathlib import Path

from ops import moments, ops_scope, redis_text
from ops.ops_scope import ScopeError
from quantum_ops import client, env_files
from quantum_ops.errors import ConfigurationError
from quantum_ops.ledger.evidence import checkout, commands, http_get, logs, proof_file, services
from quantum_ops.ledger.evidence.jobs import Deadline
from quantum_ops.replay import offsets
from quantum_ops.settings import RedisSettings
from tests.fuzz.target import Target

NOW = datetime(2026, 1, 27, 6, 15, 30, tzinfo=UTC)
CANARY = "canary7c1f"


def _text(given: bytes) -> str:
    return given.decode("utf-8", "surrogateescape")


def _metrics_url(given: bytes) -> bool:
    parts, host, port = http_get._split(_text(given))
    assert parts.scheme in {"http", "https"}
    assert host
    assert 0 < port < 65_536
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    try:
        headers = "".join(f"{name}{value}" for name, value in http_get._headers(parts).items())
    except ValueError:
        return False  # get() refuses it so, before anything is sent
    assert not set(path + host + headers) & set("\r\n\0"), "it could write a header of its own"
    return True


def _redis_url(given: bytes) -> bool:
    url = client.url_of(RedisSettings(url=_text(given)))
    assert urllib.parse.urlsplit(url).scheme in client.SCHEMES
    return True


def _shown_url(given: bytes) -> bool:
    """A password between ``:`` and the last ``@`` is never shown, whatever is in it."""
    word = _text(given)
    shown = client.shown(f"redis://user:{word}{CANARY}@127.0.0.1:6379/0?password={CANARY}")
    assert CANARY not in shown
    return True


def _command(given: bytes) -> bool:
    found = commands.parse(_text(given))
    assert found.name in commands.ALLOWED, "a command that is not on the list would be sent"
    assert commands.split(found.shown) == list(found.arguments)
    return True


def _service(given: bytes) -> bool:
    name = _text(given)
    if not services.NAME.fullmatch(name):
        return False
    assert not name.startswith(("-", ".")), "it would be an option, or a way up"
    assert not set(name) & set("/*? \t\n\0"), "it would be a path or a pattern"
    return True


def _log_name(given: bytes) -> bool:
    name = logs._name(_text(given))
    assert "/" not in name
    assert name not in {".", ".."}
    assert len(name) <= 100
    return True


@functools.cache
def _places() -> Path:
    """A folder with what a path may lead to: a file, a folder, a pipe, links that go astray."""
    place = Path(tempfile.mkdtemp(prefix="fuzz-places-"))
    (place / "proof.txt").write_text("proven")
    (place / "folder").mkdir()
    os.mkfifo(place / "pipe")
    (place / "loop").symlink_to("loop")
    (place / "away").symlink_to("/dev/zero")
    return place


def _proof_path(given: bytes) -> bool:
    found = proof_file.look(Path(f"{_places()}/{_text(given)}"), Deadline(1.0))
    assert bool(found.problems) != ("proof_file" in found.fields) or found.fields
    return "proof_file" in found.fields


def _scope_path(given: bytes) -> bool:
    text = _text(given)
    ops_scope.check_path("--allowed_paths", text, _places())
    assert ".." not in text.split("/")
    assert not set(text) & set("$`;|&<>\n\0\\")
    return True


def _scope_service(given: bytes) -> bool:
    ops_scope.check_service("--allowed_services", _text(given))
    return True


def _git_status(given: bytes) -> bool:
    return "git_dirty" in checkout._fields(_text(given).split("\0"))


def _offset(given: bytes) -> bool:
    found = offsets.parse(_text(given), 1_769_494_530_000)
    offsets.first(found)
    offsets.last(found)
    return True


def _moment(given: bytes) -> bool:
    text = _text(given)
    assert moments.since(text, NOW) < moments.before(text, NOW)
    return True


def _redis_words(given: bytes) -> bool:
    return redis_text.split(given) is not None


def _env_file(given: bytes) -> bool:
    folder = _places() / "env"
    folder.mkdir(exist_ok=True)
    (folder / "one.env").write_bytes(given)
    problems: list[str] = []
    found = env_files.read({"QUANTUM_ENV_DIR": str(folder)}, problems)
    assert not any("canary" in one for one in problems), "a secret stands in a message"
    return bool(found)


def targets() -> list[Target]:
    """All of them."""
    urls = (
        b"http://127.0.0.1:9090/metrics?a=b", b"https://user:pw@prom.example:443/x#y",
        b"http://[::1]:80/",
    )  # fmt: skip
    redis_urls = (
        b"redis://user:pw@127.0.0.1:6379/0", b"rediss://:pw@redis.example/1?ssl_ca_certs=/ca.pem",
        b"unix:///run/redis.sock?db=3", b"sentinel://u:p@h1:26379,h2/quantum",
    )  # fmt: skip
    return [
        Target(
            "metrics URL", "http_get._split", _metrics_url, (http_get.GetError,),
            urls, (b"http://", b"@", b"[", b"]", b"%0d%0a", b":65536", b"169.254.169.254"),
        ),
        Target(
            "REDIS_URL", "client.url_of", _redis_url, (ConfigurationError,),
            redis_urls, (b"unix://", b"?retry=", b"&db=", b"sentinel://", b"@", b"["),
        ),
        Target("REDIS_URL shown", "client.shown", _shown_url, (), (b"pw", b"a:b&c")),
        Target(
            "redis command", "commands.parse", _command, (commands.CommandError,),
            (b"redis-cli XLEN quantum:stream:apply.plan", b'HGETALL "a \\x00 key"', b"GET 'b'"),
            (b"FLUSHALL", b"EVAL ", b"CONFIG SET ", b"\\x", b'"', b"\n"),
        ),
        Target(
            "service name", "services.NAME", _service, (),
            (b"quantum-p33.service", b"p33:p33-00", b"getty@tty1.service"), (b"--", b"*", b"/"),
        ),
        Target("log name", "logs._name", _log_name, (), (b"OPS-2026-01-27-001", b"a/b")),
        Target(
            "proof path", "proof_file.look", _proof_path, (),
            (b"proof.txt", b"folder", b"pipe", b"loop", b"away"), (b"/", b"..", b"pipe", b"away"),
        ),
        Target(
            "scope path", "ops_scope.check_path", _scope_path, (ScopeError,),
            (b"docs/runbooks/a.md", b"ops/x.sh", b"/opt/quantum/y"),
            (b"/etc/shadow", b".git", b"$("),
        ),
        Target(
            "scope service", "ops_scope.check_service", _scope_service, (ScopeError,),
            (b"quantum-p33.service", b"redis"), (b".target", b"sshd", b"@"),
        ),
        Target(
            "git status", "checkout._fields", _git_status, (),
            (b"# branch.oid 0123\0# branch.head main\x001 .M N... a\0",), (b"# branch.oid ", b"\0"),
        ),
        Target(
            "offset", "replay.offsets.parse", _offset, (ValueError,),
            (b"start", b"1769494530123-0", b"-10", b"-1h", b"@2026-01-27T06:15Z"),
            (b"@", b"-", b"+14:00", b"w"),
        ),
        Target(
            "moment", "ops.moments.since", _moment, (ValueError,),
            (b"7d", b"2026-11-24", b"2026-11-24T08:00:00Z"),
            (b"+23:59", b"-23:59", b"w", b"0001-01-01"),
        ),
        Target(
            "redis-cli line", "redis_text.split", _redis_words, (),
            (b'SET a "b \\n c"', b"XADD s * f 'v\\''"), (b'"', b"'", b"\\x0", b'" '),
        ),
        Target(
            "env file", "env_files.read", _env_file, (),
            (b"A=1\nexport B='c d' # e\nREDIS_PASSWORD=canary\n",),
            (b"\n", b"REDIS_PASSWORD: canary\n", b"API_SECRET canary", b"export ", b"#"),
        ),
    ]  # fmt: skip
