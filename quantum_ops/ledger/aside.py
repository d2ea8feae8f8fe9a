"""The only place that has work done in a second process, beside what this one does meanwhile.

The second process is a fork: it holds what this one holds, the journal's lock too, so that the lock
is free only once both are done. It writes nothing before it is allowed to.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

Allowed = Callable[[], None]
"""Called before the first write, and before any later one: returns once writing is allowed."""

T = TypeVar("T")


def at_once() -> None:
    """Writing is allowed, and always was."""


class Aside(Generic[T]):
    """Work under way; ``allow`` it to write, then take its ``result``, each once."""

    def __init__(self, work: Callable[[Allowed], T]) -> None:
        self._work = work

    def allow(self) -> None:
        """Let it write."""

    def result(self) -> T:
        """What the work gave, or raises what it raised.

        Raises:
            OSError: if its process ended without a word, killed for example. What it wrote until
                then are whole files.
        """
        return self._work(at_once)

    def end(self) -> None:
        """Leave nothing running; what was not allowed to write has written nothing."""


class _Forked(Aside[T]):
    """The same, in a process of its own."""

    def __init__(self, work: Callable[[Allowed], T]) -> None:
        super().__init__(work)
        gate_read, self._gate = os.pipe()
        self._told, told = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._gate)
            os.close(self._told)
            _child(work, gate_read, told)
        os.close(gate_read)
        os.close(told)

    def allow(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # it is dead, which ``result`` will tell
            os.write(self._gate, b"!")

    def result(self) -> T:
        with os.fdopen(os.dup(self._told), "rb") as pipe:
            told = pipe.read()
        status = self._reap()
        if not told or status:
            raise OSError(f"the process that renders ended early (status {status}); run it again")
        # Not from outside: it is what our own fork wrote into a pipe that nobody else has.
        good, found = pickle.loads(told)  # noqa: S301 - as above
        if not good:
            raise found
        return found  # type: ignore[no-any-return]

    def end(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._reap()
        os.close(self._gate)
        os.close(self._told)

    def _reap(self) -> int:
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        return os.waitstatus_to_exitcode(status)


@contextlib.contextmanager
def aside(work: Callable[[Allowed], T]) -> Iterator[Aside[T]]:
    """Begin ``work`` in a second process. It calls what it is given before each of its writes.

    With one processor, or with threads (which a fork would cut off in the middle of whatever they
    do), the work is done here when its result is asked for. A block that is left early, by an error
    for example, ends it.
    """
    here = len(_processors()) < 2 or threading.active_count() > 1  # noqa: PLR2004 - one more than one
    made = Aside(work) if here else _Forked(work)
    try:
        yield made
    finally:
        made.end()


def _processors() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return {*range(os.cpu_count() or 1)}


def _child(work: Callable[[Allowed], Any], gate: int, told: int) -> None:
    """All that the fork does. It never returns: what stands above it is the parent's business."""
    status = 1
    # It ends soon: what a search for unreachable objects could free is not worth the search.
    gc.disable()
    try:
        found = _outcome(work, gate)
        with os.fdopen(told, "wb") as pipe:
            pipe.write(pickle.dumps(found))
        status = 0
    finally:
        os._exit(status)


def _outcome(work: Callable[[Allowed], Any], gate: int) -> tuple[bool, Any]:
    passed = False

    def allowed() -> None:
        nonlocal passed
        if not passed and not os.read(gate, 1):
            os._exit(1)  # who could allow it is gone
        passed = True

    try:
        return True, work(allowed)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
        return False, error
