"""The only place that gathers what each process tells of itself, all of them at once.

A process that hangs costs the time limit once, however many hang; one that is gone drops out.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from prometheus_client.core import Metric

from ops.exporter import catalogue
from quantum_ops import metrics_socket
from quantum_ops.measures import Family

MAX_BYTES = 4 * 1024 * 1024
"""Longest answer that is read of one process."""
_OURS = {measure.name for measure in catalogue.ALL}
_KINDS = frozenset({"counter", "gauge", "histogram"})


@dataclass(slots=True)
class _Call:
    """One process that is being asked."""

    path: Path
    line: socket.socket
    received: bytearray = field(default_factory=bytearray)


class Processes:
    """Reads the sockets in ``folder``; all processes together have ``timeout_s`` seconds."""

    def __init__(self, folder: Path, timeout_s: float) -> None:
        self._folder = folder
        self._timeout_s = timeout_s

    def read(self) -> list[Metric]:
        """What they told, with the label ``process`` added, and who answered."""
        answers = ask(self._folder, self._timeout_s)
        answered = catalogue.PROCESS_ANSWERS.family()
        merged: dict[str, Metric] = {}
        for process, families in sorted(answers.items()):
            answered.add_metric([process], float(families is not None))  # type: ignore[attr-defined]  # a gauge
            for family in families or ():
                _merge(merged, family, process)
        return [answered, *merged.values()]


def ask(folder: Path, timeout_s: float) -> dict[str, list[Family] | None]:
    """Process name -> what it told; None for one that is there and told nothing in time."""
    answers: dict[str, list[Family] | None] = {}
    deadline = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as lines:
        for path in _sockets(folder):
            line = lines.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            line.setblocking(False)  # noqa: FBT003 - that is its name
            try:
                line.connect(str(path))
            except BlockingIOError:
                answers[path.name] = None  # alive, and it takes nobody: its queue is full
            except OSError as error:
                _bury(path, error)
            else:
                answers[path.name] = None
                selector.register(line, selectors.EVENT_READ, _Call(path, line))
        while selector.get_map() and (left_s := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left_s):
                if _is_over(key.data):
                    answers[key.data.path.name] = _decoded(key.data.received)
                    selector.unregister(key.data.line)
    return answers


def _sockets(folder: Path) -> Iterator[Path]:
    # One that begins with a dot is not in its place yet.
    return (path for path in sorted(folder.glob("[!.]*")) if path.is_socket())


def _bury(path: Path, error: OSError) -> None:
    """Remove the socket of a process that is gone; without it, it would be asked for ever."""
    if error.errno == errno.ECONNREFUSED:
        with contextlib.suppress(OSError):
            # Touched just now, it is the next process's: those are moved in ready to answer.
            if time.time() - path.stat().st_ctime > 1:
                path.unlink()


def _is_over(call: _Call) -> bool:
    try:
        piece = call.line.recv(262_144)
    except OSError:
        call.received.clear()  # cut off in the middle: nothing of it counts
        return True
    call.received += piece
    return not piece or len(call.received) > MAX_BYTES


def _decoded(received: bytearray) -> list[Family] | None:
    try:
        return metrics_socket.decode(bytes(received))
    except msgspec.DecodeError:
        return None


def _merge(merged: dict[str, Metric], family: Family, process: str) -> None:
    if family.name in _OURS or family.kind not in _KINDS:
        return
    known = merged.get(family.name)
    if known is None:
        known = merged[family.name] = Metric(family.name, family.doc, family.kind)
    elif known.type != family.kind:
        return  # of another release; two kinds under one name would spoil the whole answer
    for sample in family.samples:
        known.add_sample(sample.name, {**sample.labels, "process": process}, sample.value)
