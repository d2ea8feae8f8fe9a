"""The only place where the verbs deploy and rollback become calls, and errors exit codes."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from typing import TextIO

from ops.daemon import AbsentError, HungError, RefusedByDaemonError
from ops.deploy import order as orders
from ops.deploy import preflight
from ops.deploy.errors import DEPLOYED, REFUSED, USAGE, StopError
from ops.deploy.order import Order
from ops.deploy.run import Deploy
from ops.deploy.state import Store
from ops.paths import ROOT, Paths
from ops.start import StartError
from quantum_ops.ledger import ids
from quantum_ops.ledger.errors import InvalidEntryError


def deploy(args: argparse.Namespace) -> int:
    """``./run deploy PROGRAM``; see the verb for its exit codes."""

    def do() -> int:
        order = _order(args)
        orders.check(order)
        if not args.finish:
            # First of all: what does not exist here is told so, whatever else is wrong.
            preflight.require_program(ROOT, order.program)
        where = preflight.place()
        store = Store(where.paths)
        with store.alone(order.program):
            one = Deploy(order, where, store, told, warn)
            if args.finish:
                return one.finish(alone=True)
            commit = preflight.require_clean(where.repository, where.paths, where.records)
            told(
                f"{order.program}: commit {commit.short} ({commit.branch or 'detached HEAD'}): "
                f"{commit.subject}"
            )
            if order.strict:
                preflight.require_ledger(where)
            one.finish(alone=False)
            return one.forward(commit.sha, commit.branch)

    return _guarded(do)


def rollback(args: argparse.Namespace) -> int:
    """``./run rollback OPS-...``; see the verb for its exit codes."""

    def do() -> int:
        try:
            ids.parse(args.operation_id)
        except InvalidEntryError as error:
            raise StopError(str(error), code=USAGE) from None
        strict = args.strict or orders.strict(os.environ.get("STRICT_LEDGER", ""))
        where = preflight.place()
        found = preflight.require_deploy(where, args.operation_id)
        order = Order(
            program=found.services[0], requested_by=args.requested_by,
            approved_by=args.approved_by, strict=strict, wait_s=args.wait, settle_s=args.settle,
            ledger_wait_s=args.ledger_wait,
        )  # fmt: skip
        orders.check(order)
        store = Store(where.paths)
        with store.alone(order.program):
            one = Deploy(order, where, store, told, warn)
            one.finish(alone=True)
            preflight.require_current(where, one.state, found)
            if strict:
                preflight.require_ledger(where)
            told(
                f"{order.program}: {found.operation_id} took it from {found.before[:12]} to "
                f"{found.commit[:12]}; going back"
            )
            return one.take_back(found, args.why or "taken back by hand")

    return _guarded(do)


def show() -> int:
    """What each program was deployed at, a line each."""
    store = Store(Paths.find())

    def do() -> int:
        programs = store.programs()
        if not programs:
            told("nothing was deployed yet: ./run deploy PROGRAM")
        for program in programs:
            state = store.read(program)
            now = state.accepted
            line = f"{program:<20} " + (
                f"{now.commit[:12]}  {now.at}  {now.operation_id or now.entry_id or '-'}"
                if now
                else "no deploy has ended well yet"
            )
            told(line)
            if state.attempt:
                told(
                    f"{'':<20} {state.attempt.commit[:12]}  begun {state.attempt.began}, "
                    f"unfinished: ./run deploy {program} --finish"
                )
            elif state.outbox:
                told(f"{'':<20} events wait: ./run deploy {program} --finish")
        return DEPLOYED

    return _guarded(do)


def _order(args: argparse.Namespace) -> Order:
    return Order(
        program=args.program,
        operation=args.operation,
        objective=args.objective,
        risk_class=args.risk_class,
        blast_radius=args.blast_radius,
        changes_summary=args.changes_summary,
        requested_by=args.requested_by,
        approved_by=args.approved_by,
        notes=args.notes,
        allowed_paths=tuple(args.allowed_paths),
        allowed_services=tuple(args.allowed_services),
        metrics_urls=tuple(args.metrics_urls),
        metrics_grep=tuple(args.metrics_grep),
        redis_cmds=tuple(args.redis_cmds),
        skipped=frozenset(args.skip_check),
        strict=args.strict or orders.strict(os.environ.get("STRICT_LEDGER", "")),
        wait_s=args.wait,
        settle_s=args.settle,
        ledger_wait_s=args.ledger_wait,
    )


def _guarded(do: Callable[[], int]) -> int:
    # Proofs, states and releases are this user's business.
    os.umask(0o077)
    try:
        return do()
    except StopError as error:
        for line in str(error).splitlines():
            warn(line)
        return error.code
    except AbsentError as error:
        warn(f"{error}; start it: ./run")
        return REFUSED
    except (StartError, HungError, RefusedByDaemonError, OSError) as error:
        warn(str(error))
        return REFUSED


def told(text: str) -> None:
    """Print ``text``."""
    _say(text, sys.stdout)


def warn(text: str) -> None:
    """Print ``text`` as something that needs a look."""
    _say(text, sys.stderr)


def _say(text: str, to: TextIO) -> None:
    """Print ``text``: a terminal that went away must not end a deploy in the middle."""
    try:
        code = to.encoding or "ascii"
        print(text.encode(code, "backslashreplace").decode(code), file=to, flush=True)
    except OSError:
        # Python would try once more at its end, and exit with 120.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), to.fileno())
