"""The only place that puts the steps of a deploy in order: forward, or back as it was."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import redis

from ops import start
from ops.daemon import BUSY_STATES, AbsentError, HungError, RefusedByDaemonError
from ops.deploy import checks, ledger, preflight, progress, telling
from ops.deploy.errors import BROKEN, DEPLOYED, REFUSED, ROLLED_BACK, StopError, UnprovenError
from ops.deploy.interrupts import Interrupts
from ops.deploy.order import Order
from ops.deploy.proof import Proof
from ops.deploy.recording import Recording
from ops.deploy.restarting import Restarting
from ops.deploy.state import Accepted, Attempt, Message, State, Store, deployed, taken_back
from quantum_ops import client, lag_reading
from quantum_ops.errors import QuantumError
from quantum_ops.ledger import moment, redaction

Told = Callable[[str], None]
_DAEMON = (AbsentError, HungError, RefusedByDaemonError)
_LEDGER_S = 10.0


class Deploy:
    """One run of the command for one program, under the program's lock."""

    def __init__(
        self, order: Order, where: preflight.Place, store: Store, told: Told, warn: Told
    ) -> None:
        self.order, self.where, self.store = order, where, store
        self.told, self.warn = told, warn
        self.state = store.read(order.program)
        secrets = redaction.known({**where.environ, "REDIS_URL": where.current.url})
        self._proof = Proof(order.program, "", "", "", where.server, secrets)
        self._interrupts = Interrupts(warn)
        self._pointed = ""

    def forward(self, commit: str, branch: str) -> int:
        """Bring the program to ``commit``, prove and record it; go back if it is not proven.

        Raises :class:`StopError` for whatever is found before anything was changed.
        """
        where, order = self.where, self.order
        self._pointed = where.releases.pointed(order.program)
        before, known = preflight.fallback(where, self.state)
        self.told(f"before: {before[:12] or 'unknown'} ({known})")
        with where.releases.locked():
            preflight.try_release(where, order.program, commit)
            before = self._kept_ready(before, commit)
        self.told(f"release {commit[:12]}: settings load, supervisord's configuration is right")
        self._proof.commit, self._proof.before, self._proof.branch = commit, before, branch
        with self._interrupts.heard(), start.alone(where.paths):
            restarting = self._restarting()
            marks = self._asked(lambda: checks.marks(where.db))
            was_up = any(p.state in BUSY_STATES for p in restarting.processes())
            self._begin(Attempt(commit=commit, fallback=before, began=_now(), was_up=was_up))
            try:
                with self._interrupts.forward():
                    self._prove(restarting, commit, marks)
                    proof_path = str(self._write_proof(restarting, "SUCCESS"))
            except Exception as error:  # noqa: BLE001 - whatever it is: what was begun is taken back
                self._failed(restarting, commit, before, error)
                return self._record(self.back(restarting))
            message = self._message("SUCCESS", commit, before, proof_path)
            self._post(deployed(self.state, _accepted(commit, message)), message)
        return self._record(DEPLOYED)

    def back(self, restarting: Restarting | None = None) -> int:
        """Take the program back, as the attempt in its state says; gives the exit code.

        Never ends half-way because of an error: what could not be done is told and recorded.
        """
        attempt = self.state.attempt
        if attempt is None or not attempt.failed:
            return BROKEN
        if not attempt.fallback or attempt.fallback == attempt.commit:
            return self._nothing_to_go_back_to(restarting, attempt)
        self.told(f"going back to {attempt.fallback[:12]}")
        why = ""
        try:
            with self.where.releases.locked():
                self.where.releases.make(attempt.fallback)
            fresh = restarting is None
            restarting = restarting or self._restarting()
            self._return(restarting, attempt, fresh=fresh)
        except Exception as error:  # noqa: BLE001 - told and recorded, never half-way
            why = str(error) or repr(error)
            self.warn(f"{self.order.program} is not ready at {attempt.fallback[:12]}: {why}")
        if self.where.releases.pointed(self.order.program) != attempt.fallback:
            return BROKEN  # not even begun: the attempt stays for the next run
        self._proof.steps.append(f"back at {attempt.fallback}: {why or 'ready'}")
        proof_path = self._prove_failure(restarting, "ROLLBACK")
        reason = f"{attempt.failed}{'; NOT READY since: ' + why if why else ''}"
        message = self._message(
            "ROLLBACK", attempt.fallback, attempt.commit, proof_path, reason,
            rollback_of=attempt.undoes, after=attempt.undoes_event,
        )  # fmt: skip
        self._post(taken_back(self.state, _accepted(attempt.fallback, message)), message)
        return BROKEN if why else ROLLED_BACK

    def take_back(self, found: ledger.Deploy, why: str) -> int:
        """Take back the recorded deploy ``found``; 0 if the program is ready as it was before."""
        where, program = self.where, self.order.program
        with where.releases.locked():
            preflight.try_release(where, program, found.before)
        self._proof.commit, self._proof.before = found.before, found.commit
        attempt = Attempt(
            commit=found.commit, fallback=found.before, began=_now(),
            failed=why, undoes=found.operation_id,
        )  # fmt: skip
        with self._interrupts.heard(), start.alone(where.paths):
            self._begin(attempt)
            code = self.back()
        return self._record(DEPLOYED if code == ROLLED_BACK else code)

    def finish(self, *, alone: bool) -> int:
        """Bring to its end what an earlier run left: a rollback, messages that wait.

        A deploy that was killed on its way forward is taken back if nothing follows (``alone``),
        else the one that follows takes its place.
        """
        attempt = self.state.attempt
        code = DEPLOYED
        if attempt and not attempt.failed:
            then = "it is taken back" if alone else "this one takes its place"
            self.warn(
                f"the deploy of {attempt.commit[:12]} begun at {attempt.began} was interrupted: "
                f"some processes may run it already; {then}"
            )
            if not alone:
                note = f"takes the place of an interrupted deploy of {attempt.commit[:12]}"
                notes = "; ".join(filter(None, (note, self.order.notes)))
                self.order = replace(self.order, notes=notes)
            else:
                why = "interrupted"
                message = self._message("PARTIAL", attempt.commit, attempt.fallback, "", why)
                attempt = replace(attempt, failed=why, undoes_event=message.fields["event_id"])
                self._keep(
                    replace(self.state, attempt=attempt, outbox=(*self.state.outbox, message))
                )
        elif attempt:
            self.warn(
                f"the rollback of {attempt.commit[:12]} was interrupted; it is finished first"
            )
        if attempt and attempt.failed:
            self._proof.commit, self._proof.before = attempt.fallback, attempt.commit
            with self._interrupts.heard(), start.alone(self.where.paths):
                code = self.back()
        if self.state.outbox:
            waiting = len(self.state.outbox)
            self.told(f"{waiting} event{'s' if waiting > 1 else ''} of an earlier run to be told")
            told = self._record(DEPLOYED)
            code = code or told
        return code

    def _kept_ready(self, before: str, commit: str) -> str:
        """``before`` if its release can be gone back to, else "": unpacked now, not in need."""
        if not before or before == commit:
            return before
        try:
            preflight.require_program(self.where.releases.make(before), self.order.program, before)
        except StopError as error:
            self.warn(f"{before[:12]} cannot be gone back to: {error}")
            return ""
        return before

    def _restarting(self) -> Restarting:
        where = self.where
        return Restarting(
            where.paths, where.current, where.releases, self.order.program, self._step
        )

    def _begin(self, attempt: Attempt) -> None:
        """Keep what is going to be done, or do not begin."""
        state = replace(self.state, attempt=attempt)
        try:
            self.store.write(state)
        except OSError as error:
            raise StopError(f"{self.store.path(self.order.program)}: {error}") from None
        self.state = state

    def _prove(self, restarting: Restarting, commit: str, marks: checks.Marks) -> None:
        order, db = self.order, self.where.db
        restarting.bring(commit, order.wait_s)
        try:
            at_ready = lag_reading.of_group(db, order.program, limit=progress.CAP)
        except (redis.RedisError, OSError):
            at_ready = None
        restarting.stay_ready(order.settle_s, order.wait_s)
        self._step(f"stayed ready for {order.settle_s:g} s")
        for check in checks.run(db, order, marks, at_ready, self.where.environ):
            self._proof.checks.append(check)
            self.told(f"{'pass' if check.passed else 'FAIL'}  {check.name}: {check.lines[0]}"
                      if check.lines else f"pass  {check.name}")  # fmt: skip
        failed = [check for check in self._proof.checks if not check.passed]
        if failed:
            raise UnprovenError(
                "; ".join(f"check {c.name} failed: {(*c.lines, '')[0]}" for c in failed)
            )
        restarting.stay_ready(0, order.wait_s)

    def _failed(self, restarting: Restarting, commit: str, before: str, error: Exception) -> None:
        """Keep what is to be done now, before it is done."""
        why = str(error) or type(error).__name__
        if not restarting.restarts.touched:
            self._undo_switch()
            raise StopError(f"{why}\nno process was restarted; nothing was recorded")
        self.warn(f"NOT PROVEN: {why}")
        self._proof.steps.append(f"not proven: {why}")
        proof_path = self._prove_failure(restarting, "FAILED")
        message = self._message("PARTIAL", commit, before, proof_path, f"not proven: {why}")
        attempt = self.state.attempt or Attempt(commit=commit, fallback=before, began=_now())
        attempt = replace(attempt, failed=why, undoes_event=message.fields["event_id"])
        self._keep(replace(self.state, attempt=attempt, outbox=(*self.state.outbox, message)))

    def _undo_switch(self) -> None:
        """No process was touched: what they start from next is as it was, too."""
        releases, program = self.where.releases, self.order.program
        if self._pointed:
            releases.point(program, self._pointed)
            releases.configure(program, self._pointed)
        else:
            releases.unconfigure(program)
        self._keep(replace(self.state, attempt=None))

    def _return(self, restarting: Restarting, attempt: Attempt, *, fresh: bool) -> None:
        if not attempt.was_up:
            restarting.rest(attempt.fallback)
            return
        only = None if fresh else set(restarting.restarts.touched)
        restarting.restarts.after.clear()
        restarting.bring(attempt.fallback, self.order.wait_s, only=only)
        restarting.stay_ready(self.order.settle_s, self.order.wait_s)

    def _nothing_to_go_back_to(self, restarting: Restarting | None, attempt: Attempt) -> int:
        program = self.order.program
        if not attempt.was_up:
            try:
                (restarting or self._restarting()).stop()
            except _DAEMON as error:
                self.warn(str(error))
            self.warn(f"{program} was stopped again: it did not run before")
            self._keep(replace(self.state, attempt=None))
            return ROLLED_BACK
        why = "the same commit ran before" if attempt.fallback else "what ran before is not known"
        self.warn(f"{program} is left as it is: {why}, so there is nothing to go back to")
        self._keep(replace(self.state, attempt=None))
        return BROKEN

    def _message(
        self, outcome: str, commit: str, before: str, proof_path: str, why: str = "", *,
        rollback_of: str = "", after: str = "",
    ) -> Message:  # fmt: skip
        git = self.where.repository
        old, new = (commit, before) if outcome == "ROLLBACK" else (before, commit)
        order = self.order if outcome != "ROLLBACK" else replace(
            self.order, operation="", objective="", changes_summary="", allowed_paths=()
        )  # fmt: skip
        return telling.deployed(
            order, outcome, commit=commit, before=before,
            subjects=git.subjects(old, new) if old else [],
            paths=git.paths(old, new) if old else [],
            branch="" if outcome == "ROLLBACK" else self._proof.branch,
            proof_path=proof_path, why=why, rollback_of=rollback_of, after=after,
        )  # fmt: skip

    def _post(self, state: State, message: Message) -> None:
        """Keep the new ``state`` together with the message that tells of it: both or neither."""
        self._keep(replace(state, outbox=(*state.outbox, message)))
        with contextlib.suppress(QuantumError, OSError), self.where.releases.locked():
            # Old code that stays only costs room.
            self.where.releases.prune(self.store.commits())

    def _record(self, code: int) -> int:
        """Tell the ledger; gives ``code``, or 1 if that failed and the deploy is strict."""
        recording = Recording(
            self.where.db, self._keep, self.where.records, self.told,
            patience_s=self.order.ledger_wait_s, publish_s=_LEDGER_S,
        )  # fmt: skip
        self.state, done = recording.flush(self.state)
        for one in done:
            if one.operation_id:
                self.told(f"recorded: {one.operation_id}")
            elif self.order.strict:
                self.warn(f"ERROR: {one.problem}")
            else:
                self.warn(f"WARNING: {one.problem} (continuing in non-strict mode)")
        if any(not one.entry_id for one in done):
            self.warn(
                f"the event is kept in {self.store.path(self.order.program)}; it is published by "
                f"./run deploy {self.order.program} --finish, or by the next deploy of it"
            )
        failed = any(one.problem for one in done)
        return REFUSED if failed and self.order.strict and code == DEPLOYED else code

    def _write_proof(self, restarting: Restarting, result: str) -> object:
        now = datetime.now(UTC)
        path = self._proof.write(self.where.paths.proofs, restarting.restarts, result, now)
        self.told(f"proof: {path}")
        return path

    def _prove_failure(self, restarting: Restarting | None, result: str) -> str:
        try:
            return str(self._write_proof(restarting, result)) if restarting else ""
        except OSError as error:
            self.warn(f"no proof file: {error}")
            return ""

    def _keep(self, state: State) -> None:
        """Keep ``state``; a disk that is full must not stop what is under way."""
        self.state = state
        try:
            self.store.write(state)
        except OSError as error:
            self.warn(f"{self.store.path(state.program)}: {error}; what is under way goes on")

    def _step(self, line: str) -> None:
        self._proof.steps.append(line)
        self.told(line)

    def _asked(self, ask: Callable[[], checks.Marks]) -> checks.Marks:
        try:
            return ask()
        except (redis.RedisError, OSError) as error:
            client.refuse_or_raise(error)
            raise StopError(f"Redis: {error}; nothing was changed", code=69) from None


def _accepted(commit: str, message: Message) -> Accepted:
    return Accepted(commit=commit, at=_now(), event_id=message.fields["event_id"])


def _now() -> str:
    return moment.text(datetime.fromtimestamp(time.time(), UTC))
