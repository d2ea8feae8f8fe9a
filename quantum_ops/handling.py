"""The only place where entries meet their handler, and where what it did is noted down.

Nothing here speaks with a server: the outcome of each entry goes into a
:class:`~quantum_ops.inbox.Settlement`, which the runner makes true.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from quantum_ops import client, codec, entry_id, outcome
from quantum_ops.clock import Clock
from quantum_ops.consumer import Bounds, Consumer
from quantum_ops.context import Context
from quantum_ops.effects import FIRST, Command, bury
from quantum_ops.errors import Hold, QuantumError, Reject
from quantum_ops.holding import Holding
from quantum_ops.inbox import Letter, RawEntry, Settlement
from quantum_ops.observe import BatchReport
from quantum_ops.waiting import Waiting


def _as_it_is(flat: list[bytes] | None) -> list[bytes]:
    """What a raw consumer's handler gets."""
    if flat is None:
        raise outcome.PayloadLostError
    return flat


class Tell(Protocol):
    """How trouble with an entry is told."""

    def __call__(
        self, kind: str, id_: str = "", *, stream: str = "", attempt: int = 0, reason: str = "",
        error: str = "",
    ) -> None:  # fmt: skip
        """See :class:`~quantum_ops.observe.Trouble`."""
        ...


class Handling:
    """One consumer at work on entries; ``settlements`` (by stream) and ``report`` gather up.

    ``waiting`` holds what is to be delivered again. Errors of a handler become outcomes; only a
    server that is away or refuses us is raised, because it ends the whole session.
    """

    def __init__(
        self,
        consumer: Consumer,
        context: Context,
        bounds: Bounds,
        clock: Clock,
        tell: Tell,
        *,
        holding: Holding,
    ) -> None:
        self._consumer = consumer
        self._context = context
        self._bounds = bounds
        self._clock = clock
        self._trouble = tell
        self._holding = holding
        self._decoders: dict[str, Callable[[Any], Any]] = {
            stream.key: _as_it_is if consumer.raw else codec.decoder(stream.event)
            for stream in consumer.streams
        }
        self.last_id = ""
        if consumer.setup is not None and context.held is None:
            context.held = consumer.setup(context)
        self.forget()

    def forget(self) -> None:
        """Drop everything that is not settled; it is still pending and will come again."""
        self.settlements: dict[str, Settlement] = {}
        self.report = BatchReport(self._consumer.name)
        self.waiting = Waiting()

    def take(self) -> tuple[dict[str, Settlement], BatchReport]:
        """Hand over what gathered up, and begin anew."""
        settlements, self.settlements = self.settlements, {}
        report, self.report = self.report, BatchReport(self._consumer.name)
        return settlements, report

    def take_settlements(self) -> dict[str, Settlement]:
        """Hand over what is to be settled; the report goes on."""
        settlements, self.settlements = self.settlements, {}
        return settlements

    def handle(self, stream: str, entries: list[RawEntry], events: list[Any] | None = None) -> None:
        """The plain way of a batch; everything else is the exception's business.

        ``events`` are the entries decoded, if that is done already.
        """
        settlement = self._settlement(stream)
        decode = self._decoders[stream]
        handler = self._consumer.handler
        context = self._context
        context.stream = stream
        context.attempt = 1
        commands: list[Command] = []
        context.commands = commands
        acks, applied = settlement.acks, settlement.applied
        durations = self.report.durations_s
        clock = time.perf_counter
        started = clock()
        if entries:
            now_s = self._clock.now_s()
            self.report.ages_s.append(entry_id.age_s(entries[0][0], now_s))
        for number, entry in enumerate(entries):
            id_, flat = entry
            context.raw_id = id_
            try:
                handler(decode(flat) if events is None else events[number], context)
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is an outcome
                self._failed(settlement, entry, stream, 1, error)
                commands = []
                context.commands = commands
            else:
                if commands:
                    applied.append((id_, 1, commands))
                    commands = []
                    context.commands = commands
                else:
                    acks.append(id_)
            ended = clock()
            durations.append(ended - started)
            started = ended
        if entries:
            self.last_id = entries[-1][0].decode()

    def prepared(
        self, stream: str, entries: list[RawEntry]
    ) -> tuple[list[RawEntry], list[Any] | None]:
        """Decode all and let ``prepare`` fetch their state at once; gives what can be handled.

        Without ``prepare`` nothing is done here: entries are decoded as they are handled.
        """
        if self._consumer.prepare is None:
            return entries, None
        settlement = self._settlement(stream)
        decode = self._decoders[stream]
        good: list[RawEntry] = []
        events: list[Any] = []
        self._context.attempt = 1
        for entry in entries:
            try:
                events.append(decode(self._payload(entry)))
                good.append(entry)
            except Exception as error:  # noqa: BLE001 - an undecodable entry is an outcome
                self._failed(settlement, entry, stream, 1, error)
        self._context.stream = stream
        # Or a Reject that keeps its effects would apply what another entry had declared.
        self._context.commands = []
        try:
            self._prepare(events, [entry[0] for entry in good])
        except Hold:
            raise
        except Exception as error:  # noqa: BLE001 - as if each handler had raised it
            for entry in good:
                self._failed(settlement, entry, stream, 1, error)
            return [], None
        return good, events

    def again(self, entry: RawEntry, stream: str, attempt: int) -> None:
        """Handle one entry that was delivered before; ``attempt`` counts this time."""
        settlement = self._settlement(stream)
        id_ = entry[0]
        deliveries = attempt - 1
        if entry[1] is not None and attempt > self._bounds.max_deliveries:
            # The handler is not called again: it may be what kills the process each time.
            ending = outcome.exhausted(deliveries)
            words = self._last_words(entry, stream, attempt, QuantumError(ending.error))
            self._letter(settlement, stream, Letter(id_, deliveries, *ending), words)
        else:
            context = self._context
            context.stream, context.raw_id, context.attempt = stream, id_, attempt
            context.commands = []
            try:
                event = self._decoders[stream](self._payload(entry))
                self._prepare([event], [id_])
            except Hold:
                raise
            except Exception as error:  # noqa: BLE001 - an outcome like any other
                self._failed(settlement, entry, stream, attempt, error)
            else:
                self._one(settlement, entry, stream, attempt, event)
        self.last_id = id_.decode()

    def _prepare(self, events: list[Any], ids: list[bytes]) -> None:
        """Fetch the state of ``events``. Held up, it waits with them in hand: nothing is charged.

        Raises :class:`Hold` if the process is asked to stop meanwhile; then they stay pending.
        """
        if self._consumer.prepare is None or not events:
            return
        self._context.raw_ids = ids
        while True:
            try:
                self._context.state = self._consumer.prepare(events, self._context)
            except Hold as held:
                if not self._holding.wait(held):
                    raise
            else:
                self._holding.over()
                return

    def _one(
        self, settlement: Settlement, entry: RawEntry, stream: str, attempt: int, event: Any
    ) -> None:
        context = self._context
        context.stream = stream
        context.raw_id = entry[0]
        context.attempt = attempt
        context.commands = []
        started = self._clock.monotonic_s()
        try:
            self._consumer.handler(event, context)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is an outcome
            self._failed(settlement, entry, stream, attempt, error)
        else:
            if context.commands:
                settlement.applied.append((entry[0], attempt, context.commands))
            else:
                settlement.acks.append(entry[0])
        self.report.durations_s.append(self._clock.monotonic_s() - started)

    @staticmethod
    def _payload(entry: RawEntry) -> list[bytes]:
        if entry[1] is None:
            raise outcome.PayloadLostError
        return entry[1]  # type: ignore[no-any-return]  # RawEntry is the client's own shape

    def _failed(
        self, settlement: Settlement, entry: RawEntry, stream: str, attempt: int, error: Exception
    ) -> None:
        """Turn what was raised into its outcome: lost, dead letter or retry."""
        if client.is_passing(error) or client.is_refusal(error):
            # Redis went away, or refuses us, under the handler: nobody's fault, and the whole
            # session is over.
            raise error
        id_, flat = entry
        ending = outcome.judge(error, lost=flat is None, attempt=attempt, bounds=self._bounds)
        if isinstance(ending, outcome.Bury):
            commands = self._last_words(entry, stream, attempt, error)
            self._letter(settlement, stream, Letter(id_, attempt, *ending), commands)
            return
        self.waiting.add(self._clock.monotonic_s() + ending.after_s, stream, id_)
        self._trouble(
            "retry", id_.decode(), stream=stream, attempt=attempt, reason=ending.reason,
            error=ending.error,
        )  # fmt: skip

    def _last_words(
        self, entry: RawEntry, stream: str, attempt: int, error: Exception
    ) -> list[Command]:
        """Effects that go with a burial: the handler's own, or its consumer's last words."""
        context = self._context
        if isinstance(error, Reject):
            return context.commands if error.keep_effects else []
        hook = self._consumer.last_words
        if hook is None or entry[1] is None:
            return []
        context.stream, context.raw_id, context.attempt = stream, entry[0], attempt
        context.commands = []
        try:
            hook(entry[1], error, context)
        except Exception as broken:
            if client.is_passing(broken) or client.is_refusal(broken):
                raise
            # Raised on, it would end the process each time the entry comes: a loop that holds up
            # everything behind it. The letter itself is kept; only its extra effects are not made.
            self._trouble(
                "last_words_failed", entry[0].decode(), stream=stream, attempt=attempt,
                reason=type(broken).__name__, error=str(broken)[:500],
            )  # fmt: skip
            return []
        return context.commands

    def _letter(
        self, settlement: Settlement, stream: str, letter: Letter, commands: list[Command]
    ) -> None:
        if commands:
            # After a leading FIRST, which must stay in front; BURY itself is always applied.
            at = 1 if commands[0][0][0] == FIRST else 0
            made = [*commands[:at], bury(letter.reason, letter.error), *commands[at:]]
            settlement.applied.append((letter.entry_id, letter.deliveries, made))
        else:
            settlement.letters.append(letter)
        kind = "lost" if letter.reason == "payload_lost" else "dead_letter"
        self._trouble(
            kind, letter.entry_id.decode(), stream=stream, attempt=letter.deliveries,
            reason=letter.reason, error=letter.error,
        )  # fmt: skip

    def _settlement(self, stream: str) -> Settlement:
        found = self.settlements.get(stream)
        if found is None:
            found = self.settlements[stream] = Settlement()
        return found
