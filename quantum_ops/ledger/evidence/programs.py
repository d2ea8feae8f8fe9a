"""The only place that runs other programs to look at things: for so long, with so much output."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from quantum_ops.ledger.evidence.jobs import Deadline

MOST_BYTES = 1024 * 1024
"""Of each stream that is kept; what comes after it is read and dropped."""

_TICK_S = 0.05
# Not the whole environment: it holds passwords that a program has no business to see.
_PASSED = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "TMPDIR",
    "DBUS_SESSION_BUS_ADDRESS",
})  # fmt: skip


@dataclass(frozen=True)
class Ran:
    """What came of a program. ``problem`` says why there is no answer of it: empty if there is."""

    code: int = -1
    out: str = ""
    err: str = ""
    problem: str = ""


def run(
    argv: Sequence[str],
    deadline: Deadline,
    environ: Mapping[str, str],
    *,
    cwd: Path | str = "/",
    given: bytes = b"",
) -> Ran:
    """Run ``argv`` until it ends or ``deadline`` has passed; then it is killed, with its children.

    Never raises for what the program does, and not for a program that is not there.
    """
    name = os.path.basename(argv[0])  # noqa: PTH119 - a name, not a file
    variables = {one: environ[one] for one in _PASSED if one in environ}
    variables |= {one: value for one, value in environ.items() if one.startswith("GIT_CONFIG_")}
    variables |= {"LC_ALL": "C", "PATH": environ.get("PATH") or os.defpath}
    variables |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "SYSTEMD_PAGER": ""}
    try:
        with _file(given) as stdin:
            process = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=variables,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
    except FileNotFoundError:
        return Ran(problem=f"{name} is not installed")
    except (OSError, ValueError) as error:
        return Ran(problem=f"{name} cannot be run ({error})")
    out, err = bytearray(), bytearray()
    try:
        ended = _read(process, {process.stdout: out, process.stderr: err}, deadline)
    finally:
        # The group, too, after a program that has ended: it may have left children behind.
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdout, process.stderr):
            with contextlib.suppress(OSError):
                if stream:
                    stream.close()
    if not ended:
        return Ran(problem=f"{name} did not answer in time")
    return Ran(process.returncode, text(bytes(out)), text(bytes(err)))


def text(raw: bytes) -> str:
    """Bytes as text; those that are no UTF-8 are shown by number."""
    return raw.decode("utf-8", "backslashreplace")


def _file(given: bytes) -> IO[bytes]:
    """``given`` as a file to read: a pipe would block us if the program does not read it."""
    if not given:
        return open(os.devnull, "rb")  # noqa: PTH123 - the caller closes it
    made = tempfile.TemporaryFile()  # noqa: SIM115 - as above
    made.write(given)
    made.seek(0)
    return made


def _read(
    process: subprocess.Popen[bytes], kept: Mapping[IO[bytes] | None, bytearray], deadline: Deadline
) -> bool:
    """Read until the program has ended; False if the deadline came first."""
    with selectors.DefaultSelector() as selector:
        for stream in kept:
            if stream:
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ)
        while not deadline.passed:
            # Before the look at the pipes: what it wrote before its end is in them now.
            over = process.poll() is not None
            ready = selector.select(0 if over else deadline.left(_TICK_S))
            for key, _ in ready:
                part = os.read(key.fd, 65536)
                if not part:
                    selector.unregister(key.fileobj)
                sink = kept[key.fileobj]  # type: ignore[index] # what was registered above
                sink += part[: MOST_BYTES - len(sink)]
            if over and not ready:
                return True
            if not selector.get_map():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(deadline.left())
                return process.returncode is not None
            if over:
                time.sleep(0)
    return False
