"""The server's disk runs full while the gate has plans to decide."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests.reliability.gate import ERRORS, Gate
from tests.reliability.result import Result
from tests.reliability.rig import ALWAYS, Rig
from tests.servers import Server
from tests.waiting import wait_until

TITLE = "full disk under the server"
GOAL = 20
OPTIONS = ALWAYS
NOT_TESTED = "quotas; a disk that fails reads"
SIZE = "48m"


class NoMountError(Exception):
    """This user may not mount a tmpfs, so the scenario cannot be run."""


class SmallDisk(Server):
    """A server whose folder is a file system of its own, and small."""

    mounted = False

    def start(self) -> None:
        if not self.mounted:
            options = ["-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(self.folder)]
            done = subprocess.run(["mount", *options], capture_output=True, check=False)
            if done.returncode:
                self.folder.rmdir()
                raise NoMountError("mount: " + done.stderr.decode().strip())
            self.mounted = True
        try:
            super().start()
        except BaseException:
            self.close()
            raise

    @property
    def filler(self) -> Path:
        return self.folder / "filler"

    def fill(self) -> None:
        """Take all that is left of the disk."""
        with self.filler.open("wb", buffering=0) as to:
            try:
                while True:
                    # Down to the last page, which a smaller piece may still find room in.
                    to.write(b"x" * 65536)
            except OSError:
                return

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        if self.mounted:
            subprocess.run(["umount", str(self.folder)], check=False)
        super().close()


server = SmallDisk


def run(rig: Rig, result: Result, goal: int) -> None:
    """``goal`` times full: the server ends, or refuses; then there is room again."""
    tried = Gate(rig, result)
    ended = 0
    for _ in range(goal):
        tried.world.burst()
        rig.server.fill()
        try:
            while rig.server.process.poll() is None:
                # Somebody writes until the server meets it.
                tried.client.set("story:filling", "x" * 65536)
                time.sleep(0.001)
        except ERRORS:
            pass
        try:
            rig.db.ping()
            tried.look()
        except ERRORS:
            rig.server.process.wait(10)
            ended += 1
        rig.server.filler.unlink()
        freed = time.monotonic()
        if rig.server.process.poll() is not None:
            rig.server.start()
        there = tried.decided()
        tried.look()
        tried.world.burst()
        wait_until(lambda: tried.decided() > there, 30, "decisions")
        tried.recovered_s.append(time.monotonic() - freed)
        wait_until(tried.world.is_settled, 60, "all plans are decided")
    result.figures["times that the server ended"] = ended
    tried.finish({"disk full": goal})
