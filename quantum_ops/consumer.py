"""The only place where a function becomes a consumer, and where a consumer is found by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quantum_ops.context import Context
from quantum_ops.errors import ConfigurationError
from quantum_ops.settings import RuntimeSettings
from quantum_ops.streams import Stream

Handler = Callable[[Any, Context], None]
Prepare = Callable[[Sequence[Any], Context], Any]
Setup = Callable[[Context], Any]
Idle = Callable[[Context], None]
Ask = Callable[[Context], None]
Tick = Callable[[Context], None]
Commit = Callable[[Context], None]
Teardown = Callable[[Context], None]
LastWords = Callable[[Sequence[bytes], Exception, Context], None]


@dataclass(frozen=True, slots=True)
class Consumer:
    """A handler bound with its constraints. The group's name is the consumer's name.

    Fields that are None take the process-wide setting of :class:`RuntimeSettings`.
    ``prepare(events, context)`` runs once per batch before its handlers; what it gives stands in
    ``context.state``: one round trip for the whole batch's state. ``settings`` is the section of
    settings that the handler reads as ``context.settings``.

    ``setup(context)`` runs once per process; what it gives stands in ``context.held``. ``idle``
    runs before the first batch and whenever a read brought nothing, at most ``block_ms`` apart:
    news is followed there. ``tick`` runs every ``tick_s`` seconds, whatever the load, after all
    that was handled has been settled: what is due by time is done there.
    ``hold`` is asked before anything is read or claimed; it raises
    :class:`~quantum_ops.errors.Hold` while nothing can be taken.
    ``last_words(flat, error, context)`` may declare effects for an entry that goes to the dead
    letter without its handler having said what follows: its bytes are no event
    (:class:`~quantum_ops.errors.DecodeError`), it was delivered too often, or the handler failed to
    the end.

    With ``raw`` nothing is decoded: the handler gets ``[name, value, ...]`` as bytes, whatever they
    are. ``commit(context)`` runs before anything that was handled is acknowledged: what must be
    durable first is made so there; raising :class:`~quantum_ops.errors.Hold` it is called again
    until it passes. ``teardown(context)`` runs once, when the process was asked to stop.

    ``replay_safe`` says whether entries that were handled may be handed over again, however old:
    nothing is then decided, recorded or told a second time. ``./run replay --redeliver`` refuses
    any other consumer, and ``./run restore`` never lets it begin earlier than it was.
    ``effects_outside`` names effects that are not in Redis, empty for none: no scratch server can
    hold those, so such a consumer is not replayed into one.
    """

    name: str
    streams: tuple[Stream, ...]
    handler: Handler
    doc: str
    prepare: Prepare | None = None
    setup: Setup | None = None
    idle: Idle | None = None
    tick: Tick | None = None
    tick_s: float = 1.0
    last_words: LastWords | None = None
    hold: Ask | None = None
    raw: bool = False
    commit: Commit | None = None
    teardown: Teardown | None = None
    replay_safe: bool = False
    effects_outside: str = ""
    settings: type | None = None
    batch: int | None = None
    block_ms: int | None = None
    claim_after_s: float | None = None
    max_deliveries: int | None = None
    retry_base_s: float | None = None
    retry_cap_s: float | None = None

    def bound(self, runtime: RuntimeSettings) -> Bounds:
        """The constraints in force; raises :class:`ConfigurationError` if they contradict."""
        bounds = Bounds(
            self.batch or runtime.batch,
            self.block_ms or runtime.block_ms,
            self.claim_after_s or runtime.claim_after_s,
            self.max_deliveries or runtime.max_deliveries,
            self.retry_base_s or runtime.retry_base_s,
            self.retry_cap_s or runtime.retry_cap_s,
        )
        if bounds.retry_cap_s >= bounds.claim_after_s:
            raise ConfigurationError(
                f"QUANTUM_RETRY_CAP_SEC={bounds.retry_cap_s} is not below "
                f"QUANTUM_CLAIM_AFTER_SEC={bounds.claim_after_s} ({self.name}): a waiting entry "
                "would be claimed by another process; lower the first or raise the second"
            )
        return bounds


@dataclass(frozen=True, slots=True)
class Bounds:
    """The constraints of one running consumer; units in the names."""

    batch: int
    block_ms: int
    claim_after_s: float
    max_deliveries: int
    retry_base_s: float
    retry_cap_s: float


def consumer(*streams: Stream, **constraints: Any) -> Callable[[Handler], Consumer]:
    """Make the decorated function the handler of a consumer of ``streams``.

    The function is called as ``handler(event, context)`` with the event already typed. Returning
    acknowledges; :class:`~quantum_ops.errors.Retry` delivers again later;
    :class:`~quantum_ops.errors.Reject` sends to the dead letter; any other exception is a retry
    with exponential back-off. ``constraints`` are the fields of :class:`Consumer`.
    """
    if not streams:
        raise TypeError("name at least one stream: @consumer(streams.APPLY_PLAN)")

    def bind(handler: Handler) -> Consumer:
        doc = (handler.__doc__ or "").strip().splitlines()
        made = Consumer(handler.__name__, streams, handler, doc[0] if doc else "")
        return replace(made, **constraints)

    return bind


def find(package: str, name: str) -> Consumer:
    """The consumer ``name``, defined in the module of that name in ``package``.

    Raises :class:`ConfigurationError` that lists the names there are.
    """
    if name not in names(package):
        raise ConfigurationError(
            f"no consumer {name!r}; there are: {', '.join(names(package)) or 'none'}"
        )
    found = getattr(importlib.import_module(f"{package}.{name}"), name, None)
    if not isinstance(found, Consumer):
        raise ConfigurationError(f"{package}/{name}.py defines no consumer called {name}")
    return found


def readers(package: str, stream: Stream) -> list[str]:
    """Names of the consumers of ``package`` that read ``stream``: its groups, once all have run."""
    return [name for name in names(package) if stream in find(package, name).streams]


def names(package: str) -> list[str]:
    """Names of the consumers of ``package``: its public modules."""
    import pkgutil  # noqa: PLC0415 - for listings only

    path = importlib.import_module(package).__path__
    return sorted(info.name for info in pkgutil.iter_modules(path) if not info.name.startswith("_"))
