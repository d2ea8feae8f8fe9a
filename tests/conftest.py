"""Fixtures shared by all tests: servers of their own, a clean environment, quiet logs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from quantum_ops import logs
from tests.backends import Backend, MemoryBackend, RedisBackend, fake
from tests.exchange import SIX, Exchange, answer, body
from tests.servers import Server

# A busy machine is no fault of what is tested: no example fails for being slow.
hypothesis.settings.register_profile(
    "shared", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("shared")

ROOT = Path(__file__).parents[1]
_FOREIGN = ("REDIS_", "QUANTUM_", "UNIVERSE_", "P33_", "HTTP_TIMEOUT", "SUPERVISOR_",
            "BINANCE_", "POSITIONS_", "LEDGER_", "STRICT_LEDGER")  # fmt: skip


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """No setting of the developer's machine reaches a test.

    No test reaches /etc/quantum, nor the ledger of this checkout.
    """
    import os

    # And a story that goes elsewhere takes nobody with it.
    monkeypatch.chdir(ROOT)
    for name in list(os.environ):
        if name.startswith(_FOREIGN) and name not in ("QUANTUM_HOME", "QUANTUM_FAULTS"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("QUANTUM_ENV_DIR", str(tmp_path / "no-env-files"))
    monkeypatch.setenv("LEDGER_DIR", str(tmp_path / "no-ledger"))


@pytest.fixture(autouse=True)
def log_lines() -> io.StringIO:
    """Where log lines go during a test."""
    sink = io.StringIO()
    logs.configure("test", "debug", sink)
    return sink


@pytest.fixture(scope="session")
def _servers() -> Iterator[dict[str, Server]]:
    started: dict[str, Server] = {}
    yield started
    for server in started.values():
        server.close()


def _emptied(started: dict[str, Server], flavour: str) -> Server:
    if flavour not in started:
        started[flavour] = Server(flavour)
    db = started[flavour].connect()
    db.flushall()
    # Closed here: left to the garbage collector, its socket may go first, which is a warning.
    db.connection_pool.disconnect()
    return started[flavour]


@pytest.fixture(params=["valkey", pytest.param("redis7", marks=pytest.mark.needs_redis7)])
def server(request, _servers) -> Server:
    """A running server, emptied; the test runs once on each flavour."""
    return _emptied(_servers, request.param)


@pytest.fixture
def valkey(_servers) -> Server:
    """The embedded server only, emptied."""
    return _emptied(_servers, "valkey")


@pytest.fixture
def db(server):
    """A client of ``server``."""
    client = server.connect()
    yield client
    client.connection_pool.disconnect()


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    """A local exchange that lists six symbols; a story changes what it answers."""
    served = Exchange(answer(body(*SIX)))
    yield served
    served.close()


@pytest.fixture(
    params=["memory", "fakeredis", "valkey", pytest.param("redis7", marks=pytest.mark.needs_redis7)]
)
def backend(request, _servers) -> Backend:
    """Each kind of server that the runtime's promises are kept on."""
    if request.param == "memory":
        return MemoryBackend()
    if request.param == "fakeredis":
        return fake()
    return RedisBackend(_emptied(_servers, request.param).connect)
