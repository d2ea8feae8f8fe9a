"""The command line of the benchmark; ``./run bench`` starts it."""

from __future__ import annotations

import argparse
import shlex
import shutil
import signal
import sys
from pathlib import Path

from ops import server_binary
from quantum_ops.errors import ConfigurationError
from tests.arguments import at_least
from tests.bench import comparison, latency, machine, pairs, place, report, sampling, workload
from tests.bench.cases import CASES, DURABLE_CASES, LATENCY_CASES, OWN_CASES, PROFILED
from tests.bench.page import WrongError
from tests.bench.results import Profile, Report, ServerResult

PAGE = machine.ROOT / "docs" / "performance.md"
SECOND_SERVER = "redis-server"
SHORT_PART = 10
LATENCY_ROUNDS = 5
LATENCY_SAMPLES = 400
DURABLE_PART = 2
QUICK_ENTRIES = 2000
QUICK_SAMPLES = 30
EXIT_TERMINATED = 143


def main(argv: list[str]) -> int:
    """Run it; gives 0, or 1 if a case failed. The page goes to stdout or, with --write, to docs."""
    args = _parser().parse_args(argv)
    if args.quick:
        args.entries, args.pairs = min(args.entries, QUICK_ENTRIES), 1
    chosen = [name for name in CASES if name in (args.only or OWN_CASES)]
    page = Report(
        command=shlex.join(["./run", "bench", *argv]),
        facts=machine.facts(),
        entries=args.entries,
        short_entries=_sizes(args)[workload.SHORT],
        entry_bytes=workload.entry_bytes(),
    )
    # As Ctrl-C does: leave through every `finally`, which ends the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    if args.peers:
        return _peers(args, page)
    try:
        programs = _programs(args)
        for program in programs:
            page.servers.append(_measure(program, chosen, args))
        if not args.quick and not args.only:
            page.servers.append(_durable(programs[0], args))
    except ConfigurationError as error:
        print(*error.lines, sep="\n", file=sys.stderr)
        return 78
    text = comparison.replaced(report.render(page), comparison.kept(_page()))
    failures = [line for server in page.servers for line in server.failures]
    return _tell(text if args.write else report.render(page), failures, write=args.write)


def _peers(args: argparse.Namespace, page: Report) -> int:
    try:
        found = comparison.measure(
            server_binary.find().path, args.entries, page.short_entries, args.pairs, _note
        )
    except (ConfigurationError, pairs.CaseFailedError, WrongError) as error:
        _note(f"FAILED {error}")
        return 1
    part = comparison.render(found, page.facts, page.command)
    text = comparison.replaced(_page(), part) if args.write else part
    return _tell(text, found.failures, write=args.write)


def _page() -> str:
    return PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""


def _tell(text: str, failures: list[str], *, write: bool) -> int:
    """Print the page, or write it if nothing failed; gives the exit code."""
    if write and not failures:
        PAGE.write_text(f"{text.rstrip()}\n", encoding="utf-8")
        _note(f"wrote {PAGE.relative_to(machine.ROOT)}")
    else:
        sys.stdout.write(text)
    for line in failures:
        _note(f"FAILED {line}")
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--entries", type=at_least(100), default=100_000)
    parser.add_argument("--pairs", type=at_least(1), default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--only", action="append", choices=list(CASES), metavar="NAME")
    parser.add_argument("--server", type=Path)
    parser.add_argument("--write", action="store_true")
    return parser


def _programs(args: argparse.Namespace) -> list[Path]:
    """The embedded server first, then the one named or the system's own."""
    first = server_binary.find().path
    if args.server:
        server_binary.probe(args.server)
        return [first, args.server]
    second = shutil.which(SECOND_SERVER)
    return [first] if args.quick or second is None else [first, Path(second)]


def _sizes(args: argparse.Namespace) -> dict[str, int]:
    return {workload.LONG: args.entries, workload.SHORT: max(100, args.entries // SHORT_PART)}


def _measure(program: Path, chosen: list[str], args: argparse.Namespace) -> ServerResult:
    server = place.Server(program)
    try:
        result = ServerResult(f"{server.flavour}, nothing written to disk")
        sizes = _sizes(args)
        for name, entries in sizes.items():
            workload.fill(server.db, name, entries)
        result.cases = pairs.compare(server, chosen, args.pairs, sizes, _note)
        rounds, samples = (1, QUICK_SAMPLES) if args.quick else (LATENCY_ROUNDS, LATENCY_SAMPLES)
        timed = [name for name in LATENCY_CASES if name in chosen]
        result.latencies = latency.measure(server, timed, rounds, samples, _note)
        for name in PROFILED:
            if name in chosen and not result.cases[name].failure:
                result.profiles.append(_profile(server, name, args))
    finally:
        server.close()
    return result


def _durable(program: Path, args: argparse.Namespace) -> ServerResult:
    server = place.Server(program, place.DURABLE)
    try:
        result = ServerResult(f"{server.flavour}, appendfsync always (as ./run starts it)")
        sizes = {name: entries // DURABLE_PART for name, entries in _sizes(args).items()}
        workload.fill(server.db, workload.LONG, sizes[workload.LONG])
        result.cases = pairs.compare(server, list(DURABLE_CASES), args.pairs, sizes, _note)
    finally:
        server.close()
    return result


def _profile(server: place.Server, name: str, args: argparse.Namespace) -> Profile:
    """Samples of as many runs as there are pairs, added up."""
    _note(f"profile: {name}")
    samples: dict[str, int] = {}
    walls_us = []
    for _ in range(args.pairs):
        run, counts = pairs.run_once(server, name, args.entries, profile=True)
        walls_us.append(1e6 / run.rate)
        for where, count in counts.items():
            samples[where] = samples.get(where, 0) + count
    return Profile(name, sum(walls_us) / len(walls_us), sampling.by_stage(samples))


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
