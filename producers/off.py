"""The only place where a producer that was given nothing to do waits: alive, and saying why."""

from __future__ import annotations

from quantum_ops import client, logs
from quantum_ops.clock import Clock
from quantum_ops.heartbeat import EVERY_S, Heartbeat


def idle(clock: Clock, heartbeat: Heartbeat, event: str, why: str) -> None:
    """Beat until asked to stop: there is nothing to do, and nothing wrong."""
    logs.get().info(event, why=why)
    while not clock.stopping():
        try:
            heartbeat.beat("ready", force=True, role="off", detail=why)
        except client.TRANSPORT_ERRORS + client.SERVER_ERRORS as error:
            client.refuse_or_raise(error)
            logs.get().debug("no_heartbeat", error=str(error))
            clock.wait(1.0)
        else:
            clock.wait(EVERY_S)
    leave(heartbeat)


def leave(heartbeat: Heartbeat) -> None:
    """Take the heartbeat away; without a server it goes by itself."""
    try:
        heartbeat.stop()
    except client.TRANSPORT_ERRORS + client.SERVER_ERRORS as error:
        logs.get().debug("left_without_goodbye", error=str(error))
