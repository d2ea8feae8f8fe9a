"""The benchmark of replaying: ``python -m tests.bench.replay [--entries N] [--pairs N]``.

Reading sealed segments as ``./run replay`` does, whole and filtered, beside bare reading: zstd's
frames unpacked and their lines decoded by msgspec, nothing else. Both on one core, in turn.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import zstandard

from quantum_ops import streams
from quantum_ops.history import segment, writer
from quantum_ops.history.folder import Folder
from quantum_ops.history.reader import Archive
from quantum_ops.history.writer import Writer
from quantum_ops.ledger.seal import Seal
from quantum_ops.replay import filters, offsets, sources

ASKED_RATE, ASKED_RATIO = 400_000, 0.8
ASKED_OF = "replay start"
START_MS = 1_769_494_530_000


class Line(msgspec.Struct):
    """An archived line, decoded and no more."""

    fields: list[str]
    id: str
    stream: str


def fill(base: Path, count: int) -> Folder:
    """Plans and results as they really are, about 350 bytes a line, in sealed segments."""
    folder = Folder(base)
    names = (b"plan_id", b"decision", b"symbol", b"side", b"qty", b"type", b"reduceOnly", b"action",
             b"source", b"timestamp")  # fmt: skip
    rest = (b"EXECUTE", b"BTCUSDT", b"BUY", b"0.002", b"MARKET", b"false", b"ENTRY_PROPOSED",
            b"intent_bridge", b"1769494530")  # fmt: skip
    both = (streams.APPLY_PLAN.key, streams.APPLY_RESULT.key)
    with writer.lock(folder):
        made = Writer(folder, Seal("quantum-ops/bench"))
        for number in range(count):
            values = (b"%016x" % (number * 2_654_435_761 % 2**64), *rest)
            flat = [part for pair in zip(names, values, strict=True) for part in pair]
            made.add(both[number % 2], b"%d-0" % (START_MS + number), flat)
            if number % 1000 == 0:
                made.commit()
        made.commit()
        made.seal()
        made.close()
    return folder


def bare(folder: Folder) -> int:
    """Every line unpacked and decoded."""
    decode = msgspec.json.Decoder(Line).decode_lines
    count = 0
    for name in folder.names():
        index = segment.Segment(folder, name, _summary(folder, name)).blocks()
        content = folder.packed(name).read_bytes()
        ends = [one.packed_at for one in index[1:]] + [len(content)]
        unpack = zstandard.ZstdDecompressor().decompress
        for block, end in zip(index, ends, strict=True):
            for one in decode(unpack(content[block.packed_at : end])):
                count += bool(one.id)
    return count


def _summary(folder: Folder, name):  # type: ignore[no-untyped-def]
    from quantum_ops.history.reader import summary

    return summary(folder, name)


def replay(folder: Folder, keys: list[str], chosen: list[filters.Filter]) -> int:
    """Everything, as the verb reads it."""
    source = sources.FromArchive(Archive(folder))
    since = sources.starts(source, keys, offsets.parse("start", 0))
    until = offsets.last(offsets.parse("end", 0))
    count = 0
    for one in filters.chosen(source.read(since, until), chosen):
        count += bool(one.id)
    return count


def timed(run: Callable[[], int], expected: int) -> float:
    """Entries a second of processor time; a run that does not read all of them has no time."""
    # Of the processor's time: what is asked for is a rate per core, and the machine is shared.
    began = time.process_time()
    found = run()
    taken = time.process_time() - began
    if found != expected:
        raise SystemExit(f"{found} entries were read, not {expected}")
    return expected / taken


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=400_000)
    parser.add_argument("--pairs", type=int, default=5)
    args = parser.parse_args()
    every = [stream.key for stream in streams.CATALOGUE]
    cases: dict[str, Callable[[Folder], int]] = {
        "replay start": lambda folder: replay(folder, every, []),
        "replay start symbol=BTCUSDT": lambda folder: replay(
            folder, every, [filters.parse("symbol=BTCUSDT")]
        ),
    }
    with tempfile.TemporaryDirectory() as base:
        folder = fill(Path(base), args.entries)
        print("| what | bare entries/s, best | ours, best | ratio, median | asked |")
        print("| --- | --- | --- | --- | --- |")
        for name, run in cases.items():
            rates = [
                (timed(lambda: bare(folder), args.entries),
                 timed(lambda run=run: run(folder), args.entries))  # type: ignore[misc]
                for _ in range(args.pairs)
            ]  # fmt: skip
            # The best of each: what else the machine does only ever takes away.
            base_, ours = (max(column) for column in zip(*rates, strict=True))
            ratio = statistics.median(ours / base for base, ours in rates)
            met = ours >= ASKED_RATE or ratio >= ASKED_RATIO
            asked = "-"
            if name == ASKED_OF:
                asked = f">= {ASKED_RATE:,}/s or >= {ASKED_RATIO:g} {'met' if met else 'MISSED'}"
            print(f"| {name} | {base_:,.0f} | {ours:,.0f} | {ratio:.2f} | {asked} |")


if __name__ == "__main__":
    main()
