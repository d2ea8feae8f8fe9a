"""One case in a process of its own: ``python -m tests.bench.worker CASE JOB_AS_JSON [--profile]``.

Says ``ready`` when everything is imported and connected, starts at the line that comes back, and
ends with one line of JSON: seen, wall_s, cpu_s, and latencies_ns or samples.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path

from tests.bench.cases import CASES
from tests.bench.job import Job
from tests.bench.sampling import Sampler


def main(name: str, described: str, *, profile: bool) -> None:
    """Run the case ``name`` as the parent process described it."""
    # What a library prints must not be taken for our words to the parent.
    reply_fd = os.dup(1)
    os.dup2(2, 1)
    job = Job(**json.loads(described), reply_fd=reply_fd)
    case = CASES[name]
    prepare = getattr(importlib.import_module(f"tests.bench.{case.module}"), case.function)
    run = prepare(job)
    sampler = Sampler()
    os.write(reply_fd, b"ready\n")
    sys.stdin.readline()
    if profile:
        sampler.start()
    cpu_s = time.process_time()
    wall_s = time.perf_counter()
    run()
    wall_s = time.perf_counter() - wall_s
    cpu_s = time.process_time() - cpu_s
    sampler.stop()
    said = {
        "seen": job.seen,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "rss_mib": _rss_mib(),
        "latencies_ns": job.latencies_ns,
        "samples": sampler.counts,
    }
    with os.fdopen(reply_fd, "wb") as reply:
        reply.write(json.dumps(said).encode() + b"\n")


def _rss_mib() -> float:
    """Memory that the process holds; the most it ever held where that is not told."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], profile="--profile" in sys.argv[3:])
