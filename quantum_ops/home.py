"""The only place that keeps a program whose truth are files on the one host that has them.

A ledger on each of two hosts would be two ledgers with half of the entries each. So the first host
to run such a program is its home, and on all others it stands by until an operator moves it.
"""

from __future__ import annotations

from dataclasses import replace

from quantum_ops import streams
from quantum_ops.consumer import Consumer
from quantum_ops.context import Context
from quantum_ops.errors import Hold

ASK_EVERY_S = 5.0
"""Seconds between looks: an operator who moves it has stopped it first."""


def kept(consumer: Consumer, host: str) -> Consumer:
    """``consumer`` that works on its home only; as it is without a ``host`` or files of its own."""
    if not (host and consumer.effects_outside):
        return consumer
    due_s = float("-inf")

    def hold(context: Context) -> None:
        nonlocal due_s
        if context.clock.monotonic_s() >= due_s:
            _ask(context, consumer.name, host)
            due_s = context.clock.monotonic_s() + ASK_EVERY_S
        if consumer.hold is not None:
            consumer.hold(context)

    return replace(consumer, hold=hold)


def _ask(context: Context, program: str, host: str) -> None:
    key = streams.home(program)
    # Asked first: SET NX is a write, and a server that takes none now would hold everything up.
    found = context.db.get(key) or context.db.set(key, host, nx=True, get=True)
    home = found.decode("utf-8", "replace") if found else host
    if home != host:
        raise Hold(
            f"its files are on host {home}; to move it, stop it everywhere, copy them here, then: "
            f"./run redis-cli SET {key} {host}",
            standby=True,
        )
