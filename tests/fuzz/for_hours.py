"""The fuzzed parsers under atheris, which follows what an input reaches: for hours, not for CI.

    python -m tests.fuzz.for_hours TARGET [CORPUS_FOLDER] [-max_total_time=SECONDS ...]

``pip install atheris`` into an environment that has the locks; it is in none of them, since it has
no wheel for each Python that we run on. What comes behind the target goes to libFuzzer as it is. A
crash is written by libFuzzer to ``crash-...``; ``python -m tests.fuzz`` needs no atheris.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

OURS = ["quantum_ops", "producers", "ops"]


def main(argv: list[str]) -> int:
    """Fuzz until libFuzzer ends; 2 for a wrong target, 69 without atheris."""
    try:
        import atheris
    except ImportError:
        print("atheris is not installed; type: pip install atheris", file=sys.stderr)
        return 69
    # Before anything of ours is imported: only so can it follow which line an input reaches.
    with atheris.instrument_imports(include=OURS):
        from tests.fuzz import catalogue
    asked = argv[1:2]
    names = asked if asked and asked[0] in catalogue.TARGETS else catalogue.named(asked)
    if len(names) != 1:
        print(f"name one target: {', '.join(names or catalogue.TARGETS)}", file=sys.stderr)
        return 2
    target = catalogue.make(names[0])

    def one(given: bytes) -> None:
        try:
            target.run(given)
        except target.refuses:
            return

    seeds = Path(tempfile.mkdtemp(prefix="fuzz-seeds-"))
    for number, content in enumerate(target.corpus):
        (seeds / str(number)).write_bytes(content)
    # libFuzzer writes what it finds into the first folder, and only reads the others.
    atheris.Setup([argv[0], *argv[2:], str(seeds)], one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
