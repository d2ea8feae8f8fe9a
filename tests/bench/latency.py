"""The only place that measures the time from XADD to handler, one event at a time.

The sender is this process, beside the server's processor and not the client's. It writes the moment
of sending into a packed command (so that packing is not measured), waits until the handler has seen
the event, and pauses so that the consumer is back in its blocking read when the next one comes.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import hiredis

from tests.bench import workload
from tests.bench.cases import CASES
from tests.bench.job import SENT_OFFSET_NS
from tests.bench.pairs import CaseFailedError, Worker, drop_group, make_group, missing
from tests.bench.place import SERVER_CPU, Server, born_on
from tests.bench.results import LatencyResult

WARM_UP = 20
PAUSE_S = 0.0005
_MARK = b"8888888888888888888"


class Sender:
    """Adds one event at a time and says when."""

    def __init__(
        self, server: Server, key: str, spell: Callable[[dict[str, str]], list[Any]]
    ) -> None:
        flat = spell(workload.fields(1) | {"sent_ns": _MARK.decode()})
        self._packed = hiredis.pack_command(("XADD", key, "*", *flat))
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self) -> None:
        """Add one event and read the server's answer."""
        # Fixed width, so that the length prefix in the packed command stays right.
        moment = b"%d" % (SENT_OFFSET_NS + time.perf_counter_ns())
        self._socket.sendall(self._packed.replace(_MARK, moment))
        answer = self._socket.recv(200)
        if not answer.startswith(b"$"):
            raise CaseFailedError(f"XADD was answered with {answer!r}")

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def spelling(stream: str) -> Callable[[dict[str, str]], list[Any]]:
    """How entries are written for the cases that read ``stream``."""
    if stream != workload.TASKS:
        return workload.flat
    from tests.bench import tasks  # whoever measures no peers needs none installed

    return tasks.message


def measure(
    server: Server, names: list[str], rounds: int, samples: int, note: Callable[[str], None]
) -> dict[str, LatencyResult]:
    """Latencies of the cases ``names``: ``rounds`` rounds, interleaved, of ``samples`` each."""
    results = {name: LatencyResult(name) for name in names}
    for number in range(rounds):
        for name in names:
            result = results[name]
            result.failure = result.failure or missing(name)
            if result.failure:
                continue
            note(f"latency round {number + 1}/{rounds}: {name}")
            try:
                with born_on(SERVER_CPU):
                    result.rounds.append(_one(server, name, samples))
            except CaseFailedError as error:
                result.failure = str(error)
                result.rounds.clear()
    return results


def _one(server: Server, name: str, samples: int) -> list[int]:
    key, group = workload.stream(workload.LIVE).key, f"bench_{name}"
    server.db.delete(key)
    make_group(server, key, group)
    count = WARM_UP + samples
    job = {
        "url": server.url, "stream_name": workload.LIVE, "key": key, "group": group,
        "count": count, "live": True,
    }  # fmt: skip
    worker = Worker(name, job)
    sender = Sender(server, key, spelling(CASES[name].stream))
    try:
        worker.go()
        for _ in range(count):
            time.sleep(PAUSE_S)
            sender.send()
            worker.expect(b".")
        latencies: list[int] = worker.answer()["latencies_ns"]
    finally:
        sender.close()
        worker.close()
    if len(latencies) != count:
        raise CaseFailedError(f"{name}: handled {len(latencies)} of {count} events")
    drop_group(server, key, group)
    server.db.delete(key)
    return latencies[WARM_UP:]
