"""The only place of what every producer is as a process: signals, settings, metrics, exit code."""

from __future__ import annotations

import signal
from collections.abc import Callable

import walrus

from quantum_ops import client, knobs, lifeline, logs, metrics_socket
from quantum_ops.clock import Clock
from quantum_ops.errors import ConfigurationError, RefusedError
from quantum_ops.measures import Registry, of_process
from quantum_ops.settings import RedisSettings, RuntimeSettings


def run(name: str, work: Callable[[], None]) -> int:
    """``work`` as the program ``name``; gives its exit code: 0 after a stop, 78 if refused.

    Refused by wrong settings, or by a server that will not have us.
    """
    lifeline.die_with_parent()
    registry = Registry()
    registry.add(of_process)
    served = metrics_socket.serve(registry, name)
    try:
        work()
    except ConfigurationError as error:
        return lifeline.refuse(*(f"{name}: {line}" for line in error.lines))
    except RefusedError as error:
        return lifeline.refuse(f"{name}: {error}")
    finally:
        if served is not None:
            served.close()
    logs.get().info("stopped")
    return 0


def connect(name: str, clock: Clock, interrupt: Callable[[], None]) -> walrus.Database:
    """Log as ``name``, stop ``clock`` and ``interrupt`` a fetch at a signal; gives the client."""
    runtime = knobs.load(RuntimeSettings)
    redis = knobs.load(RedisSettings)
    logs.configure(name, runtime.log_level)

    def stop(*_: object) -> None:
        clock.stop()
        interrupt()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return client.connect(redis, name=name, user=name)
