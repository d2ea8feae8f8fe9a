"""The archive's benchmark: ``python -m tests.bench.history [--entries N] [--pairs N] [--write]``.

The archive, as a live process runs it, against a bare consumer loop; reading sealed segments
against zstd and msgspec alone; the tree against hashing alone; seeking. Whatever was archived is
compared with what was sent before its time counts.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import redis
import zstandard

from consumers.archive import archive
from ops import server_binary
from quantum_ops import logs, program, streams
from quantum_ops.clock import Clock
from quantum_ops.history import entry, writer
from quantum_ops.history.blocks import TILE
from quantum_ops.history.folder import Folder
from quantum_ops.history.reader import Archive, until_ms
from quantum_ops.history.writer import Writer
from quantum_ops.ledger import merkle
from quantum_ops.ledger.seal import Seal
from quantum_ops.measures import Registry
from quantum_ops.metrics import MetricsObserver
from quantum_ops.settings import RedisSettings, RuntimeSettings
from tests.bench import page, place, workload
from tests.bench.page import WrongError

KEY = streams.APPLY_PLAN.key
BATCH = 500
QUICK = 2_000
SEGMENT_BYTES = 16 * 1024 * 1024
T0 = 1_769_494_530_000
SEEKS = 50


class Row(NamedTuple):
    """One line of the page: entries a second of the comparison and of ours, what is asked."""

    name: str
    compared: list[float]
    ours: list[float]
    ratio_asked: float
    rate_asked: float = 0.0

    def cells(self) -> str:
        ratios = [ours / base for base, ours in zip(self.compared, self.ours, strict=True)]
        ratio, rate = statistics.median(ratios), statistics.median(self.ours)
        asked = [f"ratio >= {self.ratio_asked:g}"] if self.ratio_asked else []
        met = bool(self.ratio_asked) and ratio >= self.ratio_asked
        if self.rate_asked:
            asked.append(f"{self.rate_asked:,.0f}/s")
            met = met or rate >= self.rate_asked
        judged = f"{' or '.join(asked)} {'met' if met else 'MISSED'}" if asked else "-"
        shown = [f"{statistics.median(one):,.0f}" for one in (self.compared, self.ours)]
        spread = f"{min(ratios):.2f}..{max(ratios):.2f}"
        return " | ".join([self.name, *shown, f"{ratio:.2f}", spread, judged])


def timed(run: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that ``run`` took."""
    start = clock()
    run()
    return clock() - start


def worked(run: Callable[[], Any]) -> float:
    """Seconds of processor time that ``run`` took: what it is on a core of its own."""
    return timed(run, time.process_time)


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """These variables, while it lasts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def copying(base: Path, pairs: int, count: int) -> Row:
    """The whole archive process against redis-py's loop of XREADGROUP and XACK, 500 at a time."""
    server = place.Server(server_binary.find().path)
    compared, ours = [], []
    try:
        for number in range(pairs):
            server.db.flushall()
            _fill(server.db, count)
            compared.append(count / timed(lambda: _bare(server.url, count)))
            folder = base / f"copy{number}"
            with environment(ARCHIVE_DIR=str(folder), QUANTUM_ENV_DIR=str(base / "none")):
                ours.append(count / _archive(server.url, count))
            _same(server.db, Folder(folder), count)
    finally:
        server.close()
    told = (
        f"archive {count:,} entries of {workload.entry_bytes()} bytes, synced, against a bare loop"
    )
    return Row(told, compared, ours, 0.35)


def reading(folder: Folder, pairs: int, count: int) -> Row:
    """``Archive.read`` of sealed segments against unpacking them and decoding each line."""
    decode = msgspec.json.Decoder(entry.Entry).decode

    def bare() -> None:
        seen = 0
        for name in folder.names():
            with folder.packed(name).open("rb") as file:
                reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
                for line in reader.readall().splitlines():
                    decode(line)
                    seen += 1
        if seen != count:
            raise WrongError("lines are missing")

    def read() -> None:
        if sum(1 for _ in Archive(folder).read()) != count:
            raise WrongError("entries are missing")

    compared, ours = [], []
    for _ in range(pairs):
        compared.append(count / worked(bare))
        ours.append(count / worked(read))
    return Row(f"read {count:,} sealed entries, one core", compared, ours, 0.8, 400_000)


def growing(pairs: int, count: int) -> Row:
    """Leaves and tree of lines, a batch at a time, against the two hashes that each line takes."""
    lines = [entry.encode(KEY, b"%d-0" % number, _flat(number)) for number in range(count)]

    pair = bytes(1 + 2 * merkle.HASH_BYTES)

    def bare() -> None:
        # A tree of n leaves has n - 1 nodes above them.
        for line in lines:
            sha256(line).digest()
            sha256(pair).digest()

    def grow() -> None:
        frontier = merkle.Frontier()
        for start in range(0, count, BATCH):
            part = lines[start : start + BATCH]
            frontier.extend(merkle.leaves(part), TILE)
        if frontier.size != count:
            raise WrongError("leaves are missing")

    compared, ours = [], []
    for _ in range(pairs):
        compared.append(count / worked(bare))
        ours.append(count / worked(grow))
    told = f"grow the tree by {count:,} lines, against its hashes alone"
    return Row(told, compared, ours, 0, 500_000)


def seeking(folder: Folder, count: int) -> str:
    """Milliseconds to open the archive, and to find the newest entry up to a moment."""
    opened = timed(lambda: Archive(folder)) * 1e3
    found = Archive(folder)
    taken = []
    for number in range(SEEKS):
        at = count * (number + 1) // (SEEKS + 1)
        start = time.perf_counter()
        one = found.newest(KEY, until_ms(T0 + at))
        taken.append((time.perf_counter() - start) * 1e3)
        if one is None or one.at != at:
            raise WrongError(f"found {one and one.at}, not {at}")
    return (
        f"Seeking in {count:,} entries in {len(found.segments)} segments: opened in "
        f"{opened:.1f} ms, the newest up to a moment in {statistics.median(taken):.1f} ms "
        f"(longest {max(taken):.1f})."
    )


def _bare(url: str, count: int) -> None:
    db: Any = redis.Redis.from_url(url)
    db.xgroup_create(KEY, "bare", "0")
    seen = 0
    while seen < count:
        for _, entries in db.xreadgroup("bare", "one", {KEY: ">"}, count=BATCH, block=1000):
            seen += len(entries)
            db.xack(KEY, "bare", *[id_ for id_, _ in entries])
    db.close()


def _archive(url: str, count: int) -> float:
    clock = Clock()
    runner, _ = program.build(
        archive, RedisSettings(url=url), RuntimeSettings(batch=BATCH), clock,
        MetricsObserver(Registry()),
    )  # fmt: skip
    runner.open()

    def run() -> None:
        while runner.handled < count:
            runner.step()

    taken = timed(run)
    clock.stop()
    runner.run()  # asked to stop before it began: only the end of a graceful stop is left
    return taken


def _fill(db: Any, count: int) -> None:
    for start in range(0, count, workload.PIPELINE):
        pipe = db.pipeline(transaction=False)
        for number in range(start, min(start + workload.PIPELINE, count)):
            pipe.xadd(KEY, workload.fields(number))
        pipe.execute()


def _same(db: Any, folder: Folder, count: int) -> None:
    after, seen = "-", 0
    kept = Archive(folder).read({KEY})
    while rows := db.execute_command("XRANGE", KEY, after, "+", "COUNT", 1000):
        for id_, fields in rows:
            one = next(kept)
            if one.id.encode() != id_ or one.flat != [
                part for pair in fields.items() for part in pair
            ]:
                raise WrongError(f"{id_.decode()} is not what was sent")
            seen += 1
        after = "(" + rows[-1][0].decode()
    if seen != count or next(kept, None) is not None:
        raise WrongError(f"{seen} of {count} entries, or more than was sent")


def _flat(number: int) -> list[bytes]:
    return [part.encode() for pair in workload.fields(number).items() for part in pair]


def _sealed(base: Path, count: int) -> Folder:
    """An archive of ``count`` entries, all of it sealed."""
    folder = Folder(base / "sealed")
    with writer.lock(folder):
        made = Writer(folder, Seal("quantum-ops/bench"), segment_bytes=SEGMENT_BYTES)
        for number in range(count):
            made.add(KEY, b"%d-0" % (T0 + number), _flat(number))
            if number % 5000 == 0:
                made.commit()
        made.commit()
        made.seal()
        made.close()
    return folder


def main(argv: Sequence[str]) -> int:
    """Run it; 0, or 1 if a run came to something else than it had to."""
    parser = page.parser("history", __doc__, "entries")
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seek", type=int, default=1_000_000, help="entries to seek in")
    parser.add_argument("--tree", action="store_true", help="the tree's row alone")
    args = parser.parse_args(argv)
    if args.quick:
        args.entries, args.pairs, args.seek = QUICK, 1, QUICK
    logs.configure("bench", "error")
    if args.tree:
        print(f"{_TABLE}\n| {growing(args.pairs, args.entries).cells()} |")
        return 0

    def found(base: Path) -> str:
        rows = [
            copying(base, args.pairs, args.entries),
            reading(_sealed(base / "read", args.entries), args.pairs, args.entries),
            growing(args.pairs, args.entries),
        ]
        table = "\n".join(f"| {row.cells()} |" for row in rows)
        return f"{_TABLE}\n{table}\n\n{seeking(_sealed(base / 'seek', args.seek), args.seek)}"

    return page.make("history", _HEAD.format(pairs=args.pairs), found, write=args.write)


_HEAD = """# Performance of the archive

Generated by `python -m tests.bench.history --write`; edits are lost. What is measured and how:

- The archive as a live process runs it (runner, heartbeat, metrics; every stream read, each batch
  appended and `fdatasync`ed before it is acknowledged) against redis-py's loop of XREADGROUP and
  XACK, both 500 at a time.
- `Archive.read` of sealed segments against unpacking each as a whole and decoding its lines with
  msgspec.
- Leaf hashes and tree against the SHA-256 of as many lines and pairs of nodes, and nothing else.
- Reading and the tree are counted in processor time: entries a second of one core.
- Runs alternate; {pairs} pairs, medians, spread of the ratios. What was archived is compared with
  what was sent.
"""
_TABLE = """\
| what | compared, entries/s | ours, entries/s | ratio | range | asked |
| --- | ---: | ---: | ---: | ---: | ---: |"""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
