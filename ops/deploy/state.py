"""The only place that remembers a program's deploys: accepted, under way, still to be told.

One file per program, ``QUANTUM_HOME/deploys/PROGRAM.json``, replaced as a whole and synced before
anything that it speaks of is done. So whatever is killed, the next run knows what was meant.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from ops.deploy.errors import BUSY, StopError
from ops.paths import Paths
from quantum_ops.ledger import durable

VERSION = 1
EARLIER = 20
"""Deploys of a program that are remembered beside the one in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What a program runs since its last deploy or rollback that ended well."""

    commit: str
    at: str
    event_id: str = ""
    """The event that tells of it."""
    entry_id: str = ""
    """Its deploy.completed entry, "" until it stands in the stream."""
    operation_id: str = ""
    """Its record in the ledger, "" until it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A deploy that began to change what runs, and whose end is not known yet."""

    commit: str
    fallback: str
    """What it goes back to; "" if there is nothing."""
    began: str
    was_up: bool = True
    """Whether the program ran before: if not, going back ends with it stopped."""
    failed: str = ""
    """Why it goes back, "" as long as it goes forward."""
    undoes: str = ""
    """The record that going back takes back, "" if its id is not known yet; then the event is:"""
    undoes_event: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A deploy.completed event on its way: kept here until it stands in the stream.

    ``fields`` are those of the event, ``event_id`` among them. ``after`` is the ``event_id`` of the
    message whose record this one rolls back: it waits until that record's id is known.
    """

    fields: dict[str, Any]
    entry_id: str = ""
    operation_id: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is known of one program's deploys."""

    program: str
    v: int = VERSION
    accepted: Accepted | None = None
    earlier: tuple[Accepted, ...] = ()
    """What was accepted before, newest last: a rollback brings it back into force."""
    attempt: Attempt | None = None
    outbox: tuple[Message, ...] = field(default=())


class Store:
    """The state of the programs under one ``QUANTUM_HOME``."""

    def __init__(self, paths: Paths) -> None:
        self._folder = paths.deploys

    def path(self, program: str) -> Path:
        """The file of ``program``."""
        return self._folder / f"{program}.json"

    def read(self, program: str) -> State:
        """The state of ``program``; an empty one if it was never deployed.

        Raises :class:`StopError` for a file that cannot be understood: what runs is unknown then.
        """
        path = self.path(program)
        try:
            found = msgspec.json.decode(path.read_bytes(), type=State)
        except FileNotFoundError:
            return State(program=program)
        except (msgspec.DecodeError, OSError) as error:
            raise StopError(
                f"{path}: cannot be read ({error}); look at it, then move it away: the next "
                "deploy then begins without a release to go back to"
            ) from None
        if found.program != program or found.v != VERSION:
            raise StopError(f"{path}: is of program {found.program!r}, version {found.v}")
        return found

    def write(self, state: State) -> None:
        """Keep ``state``. When this returns it MUST be on disk. Raises ``OSError``."""
        text = json.dumps(asdict(state), indent=1, ensure_ascii=True) + "\n"
        durable.write(self.path(state.program), text.encode())

    def programs(self) -> list[str]:
        """Programs that were deployed at least once."""
        return sorted(path.stem for path in self._folder.glob("*.json"))

    def commits(self) -> set[str]:
        """Every commit that some program may still need."""
        used: set[str] = set()
        for program in self.programs():
            state = self.read(program)
            used |= {state.accepted.commit} if state.accepted else set()
            used |= {state.attempt.commit, state.attempt.fallback} if state.attempt else set()
        return used - {""}

    @contextlib.contextmanager
    def alone(self, program: str) -> Iterator[None]:
        """Be the only deploy of ``program``; :class:`StopError` names the one that is there.

        The lock belongs to the open file: it ends with the process, however that ends.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / f"{program}.lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                who = file.read(20).strip() or "?"
                raise StopError(
                    f"{program} is being deployed by another process (pid {who}); nothing was "
                    "changed here. Say it again when that one has ended",
                    code=BUSY,
                ) from None
            file.seek(0)
            file.truncate()
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield


def deployed(state: State, accepted: Accepted) -> State:
    """``state`` with a deploy that ended well."""
    earlier = state.earlier + ((state.accepted,) if state.accepted else ())
    return replace(state, accepted=accepted, earlier=earlier[-EARLIER:], attempt=None)


def taken_back(state: State, fallback: Accepted) -> State:
    """``state`` back at the commit of ``fallback``.

    The deploy that brought the program there is in force again, and can be taken back in its turn;
    if it is not known, ``fallback`` stands for it.
    """
    if state.accepted and state.accepted.commit == fallback.commit:
        return replace(state, attempt=None)  # what failed was never accepted
    if state.earlier and state.earlier[-1].commit == fallback.commit:
        *earlier, last = state.earlier
        return replace(state, accepted=last, earlier=tuple(earlier), attempt=None)
    return replace(state, accepted=fallback, earlier=(), attempt=None)


def posted(state: State, message: Message) -> State:
    """``state`` with ``message`` as the newer version of the one with its ``event_id``."""
    kept = tuple(
        message if one.fields["event_id"] == message.fields["event_id"] else one
        for one in state.outbox
    )
    return replace(state, outbox=kept)
