"""The archive killed, starved and taken over; a reader with zstd alone counts the entries."""

from __future__ import annotations

import base64
import collections
import json
import os
import random
import resource
import signal
import subprocess
from pathlib import Path

import pytest

from quantum_ops import client, streams
from quantum_ops.history.folder import Folder
from quantum_ops.history.verify import verify
from tests.programs import FULL, Program
from tests.script_box import without
from tests.servers import Server
from tests.waiting import wait_until

pytestmark = without("zstd", "zstd")
KILLS = 300 if FULL else 6
SERVER_KILLS = 300 if FULL else 4
BURST = 60
KEYS = [stream.key for stream in streams.CATALOGUE]
Row = tuple[str, str, tuple[bytes, ...]]


class World:
    """A producer of entries of every kind in every stream, and two looks: Redis, and the files."""

    def __init__(self, server: Server, base: Path) -> None:
        self.server = server
        self.base = base
        self.sent = 0

    @property
    def db(self):
        return self.server.connect()

    def burst(self, count: int = BURST, *, size: int = 7000, random_: bool = False) -> None:
        """Some are large, so that segments are sealed now and then; some are no text.

        With ``random_`` they are of bytes that do not pack.
        """
        with self.db.pipeline(transaction=False) as pipe:
            for _ in range(count):
                self.sent += 1
                length = self.sent % 7 * size
                note = os.urandom(length) if random_ else b"x" * length
                fields = [b"number", b"%d" % self.sent, b"note", note]
                if self.sent % 11 == 0:
                    fields += [b"\xff\xfe", b"\x00\x80"]
                # Findings of the archive itself must stay readable.
                key = KEYS[self.sent % 5]
                pipe.execute_command("XADD", key, "*", *fields)
            pipe.execute()

    def in_redis(self) -> list[Row]:
        return [
            (key, id_.decode(), tuple(flat))
            for key in KEYS
            for id_, flat in client.raw(self.db, "XRANGE", key, "-", "+") or ()
        ]

    def in_files(self) -> list[Row]:
        rows = []
        for path in sorted(self.base.glob("*.jsonl*")):
            if path.suffix == ".zst" and path.with_suffix("").exists():
                continue  # being sealed: the raw file is the truth
            if path.suffix == ".zst":
                done = subprocess.run(["zstd", "-dcq", path], capture_output=True, check=True)
                content = done.stdout
            else:
                content = path.read_bytes()
            lines = content[: content.rfind(b"\n") + 1].splitlines()
            rows += [self.row(json.loads(line)) for line in lines]
        return rows

    @staticmethod
    def row(found: dict) -> Row:
        flat = [text.encode() for text in found["fields"]]
        for at in found.get("base64", ()):
            flat[at] = base64.b64decode(found["fields"][at])
        return found["stream"], found["id"], tuple(flat)

    def settled(self) -> bool:
        """Whether the archive's group has read and acknowledged everything."""
        for key in KEYS:
            group = self.group(key)
            last = client.raw(self.db, "XREVRANGE", key, "+", "-", "COUNT", 1)
            newest = last[0][0] if last else b"0-0"
            if group.get(b"pending") != 0 or group[b"last-delivered-id"] != newest:
                return False
        return True

    def group(self, key: str) -> dict[bytes, object]:
        """How the archive's group of a stream stands; empty if there is none."""
        if not self.db.exists(key):
            return {}
        for group in client.raw(self.db, "XINFO", "GROUPS", key):
            return dict(zip(group[::2], group[1::2], strict=True))
        return {}

    def pending(self) -> int:
        return sum(self.group(key).get(b"pending", 0) for key in KEYS)

    def done(self) -> int:
        """How many entries the archive's group has acknowledged, about."""
        read = sum(self.group(key).get(b"entries-read") or 0 for key in KEYS)
        return read - self.pending()

    def state(self, number: int = 0) -> bytes:
        return self.db.hget(streams.heartbeat("archive", number), "state") or b""

    def ends(self, program: Program) -> None:
        """A graceful stop, once the process is at work: before, it has no handler of signals."""
        beat = streams.heartbeat("archive", 0)
        pid = str(program.process.pid).encode()
        wait_until(lambda: self.db.hmget(beat, "pid", "state") == [pid, b"ready"], 60, "is up")
        assert program.end() == 0

    def findings(self) -> list[bytes]:
        return [
            fields[b"finding"]
            for _, fields in self.db.xrange(streams.AUDIT_FINDING.key)
            if b"finding" in fields
        ]

    def check(self) -> None:
        """Nothing lost, nothing doubled, nothing changed; the files prove themselves."""
        expected = collections.Counter(self.in_redis())
        found = collections.Counter(self.in_files())
        assert expected - found == collections.Counter(), "lost"
        assert found - expected == collections.Counter(), "doubled or made up"
        report = verify(Folder(self.base))
        assert report.ok, report.faults
        assert report.lines == sum(expected.values())


@pytest.fixture
def programs():
    started: list[Program] = []
    yield started
    for program in started:
        program.end()


def archive(world: World, number: int = 0, *, segment_mb: int = 1) -> Program:
    """Small batches and segments, so that a kill meets every step."""
    return Program(
        world.server.url, "archive", number, ARCHIVE_DIR=str(world.base),
        ARCHIVE_CHECKPOINT_SEC="0.2", ARCHIVE_SEGMENT_MB=str(segment_mb), QUANTUM_BATCH="20",
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_killed_archive_loses_nothing_and_doubles_nothing(server, tmp_path, programs):
    source = random.Random(20261126)
    world = World(server, tmp_path / "archive")
    programs.append(archive(world))
    for _ in range(KILLS):
        before = world.done()
        world.burst()
        # When it is killed somewhere in the burst: reading, writing, sealing, acknowledging
        wanted = source.randrange(1, BURST)
        wait_until(lambda n=before + wanted: world.done() >= n, 60, "at work")
        programs[0].kill()
    wait_until(world.settled, 120, f"{world.sent} settled")
    world.ends(programs[0])
    world.check()
    # And the graceful stop left a proof of everything
    report = verify(Folder(world.base))
    assert report.proven == report.lines
    assert len(list(world.base.glob("*.zst"))) > 1
    assert world.findings() == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "flavour", ["valkey", pytest.param("redis7", marks=pytest.mark.needs_redis7)]
)
def test_a_killed_server_loses_nothing_in_the_archive(flavour, tmp_path, programs):
    server = Server(flavour, "--appendonly", "yes", "--appendfsync", "always")
    try:
        world = World(server, tmp_path / "archive")
        programs.append(archive(world))
        for number in range(SERVER_KILLS):
            world.burst(20, size=100)
            server.kill()
            if number % 3 == 2:
                programs[0].kill()
            server.start()
        wait_until(world.settled, 120, "settled")
        world.ends(programs[0])
        world.check()
        # No acknowledged entry went, so there is nothing to tell
        assert world.findings() == []
    finally:
        server.close()


def test_a_second_process_waits_and_takes_over_from_a_killed_one(valkey, tmp_path, programs):
    world = World(valkey, tmp_path / "archive")
    programs.append(archive(world))
    wait_until(lambda: world.state() == b"ready", 20, "the first is at work")
    programs.append(archive(world, 1))
    wait_until(lambda: world.state(1) == b"standby", 20, "the second stands by")
    world.burst()
    wait_until(world.settled, 20, "the first does the work")
    world.burst()
    programs[0].signal(signal.SIGKILL)
    programs[0].process.wait()
    world.burst()
    wait_until(lambda: world.state(1) == b"ready", 20, "the second took over")
    wait_until(world.settled, 30, "and finished what the first had left")
    world.check()


def test_a_frozen_process_keeps_its_place_and_nothing_doubles(valkey, tmp_path, programs):
    world = World(valkey, tmp_path / "archive")
    programs.append(archive(world))
    wait_until(lambda: world.state() == b"ready", 20, "the first is at work")
    programs.append(archive(world, 1))
    wait_until(lambda: world.state(1) == b"standby", 20, "the second stands by")
    programs[0].signal(signal.SIGSTOP)
    world.burst()
    programs[0].signal(signal.SIGCONT)
    wait_until(world.settled, 30, "it goes on")
    world.check()


class FullDisk:
    """An archive at work whose files may not grow any more: to a process, that is a full disk."""

    def __init__(self, world: World, program: Program) -> None:
        self.program = program
        world.burst()
        wait_until(lambda: world.settled() and world.state() == b"ready", 20, "settled")
        [self.path] = world.base.glob("*.jsonl")
        self.size = self.path.stat().st_size
        _, self.hard = resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE)
        self._limit(self.size + 1000)
        world.burst()
        wait_until(lambda: world.state() == b"waiting", 20, "it says that it waits")

    def room(self) -> None:
        self._limit(self.hard)

    def _limit(self, size: int) -> None:
        resource.prlimit(self.program.process.pid, resource.RLIMIT_FSIZE, (size, self.hard))


def test_a_full_disk_stops_the_acknowledging_loses_nothing_and_resumes(valkey, tmp_path, programs):
    world = World(valkey, tmp_path / "archive")
    programs.append(archive(world, segment_mb=64))
    disk = FullDisk(world, programs[0])
    # Then nothing more is acknowledged, and no half a line is left
    assert world.pending() > 0
    assert disk.path.stat().st_size in range(disk.size, disk.size + 1001)
    assert disk.path.read_bytes().endswith(b"\n")
    assert programs[0].process.poll() is None
    # And when there is room again, it goes on by itself
    disk.room()
    wait_until(lambda: world.settled() and world.state() == b"ready", 30, "it goes on")
    world.ends(programs[0])
    world.check()


def test_killed_while_the_disk_is_full_it_loses_nothing(valkey, tmp_path, programs):
    world = World(valkey, tmp_path / "archive")
    programs.append(archive(world, segment_mb=64))
    FullDisk(world, programs[0])
    programs[0].kill()  # the next one has no limit
    wait_until(world.settled, 30, "the next one does it")
    world.ends(programs[0])
    world.check()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own of four MiB; gives the folder and what makes it larger."""
    base = tmp_path / "disk"
    base.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(base)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system, and not in every container")
    yield base, ["mount", "-o", "remount,size=256m", str(base)]
    subprocess.run(["umount", "--lazy", str(base)], check=True)


def test_a_file_system_that_is_really_full_loses_nothing_also_when_killed(
    valkey, small_disk, programs
):
    base, larger = small_disk
    world = World(valkey, base / "archive")
    programs.append(archive(world))
    # Given more than it takes, in bytes that do not pack: writing fails, or sealing does
    for _ in range(8):
        world.burst(size=4000, random_=True)
    wait_until(lambda: world.state() == b"waiting", 30, "it says that it waits")
    beat = streams.heartbeat("archive", 0)
    assert b"No space left on device" in world.db.hget(beat, "detail")
    assert programs[0].process.poll() is None
    # Then what it acknowledged is whole, and proves itself, on the full disk
    assert world.pending() > 0
    assert verify(Folder(world.base)).faults == []
    acknowledged = world.done()
    # When it is killed there, the next one waits as well, and acknowledges nothing more
    programs[0].kill()
    pid = programs[0].process.pid
    waits = [str(pid).encode(), b"waiting"]
    wait_until(lambda: world.db.hmget(beat, "pid", "state") == waits, 30, "the next one waits")
    assert world.done() <= acknowledged + 20  # a batch that was written, and not acknowledged yet
    # And with room it goes on by itself: nothing was lost, nothing is there twice
    subprocess.run(larger, check=True)
    wait_until(lambda: world.settled() and world.state() == b"ready", 60, "it goes on")
    world.ends(programs[0])
    world.check()
