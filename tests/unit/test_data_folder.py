"""Which server may open which files: the measured table, and what the rules add to it."""

from __future__ import annotations

import multiprocessing
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops import data_folder
from ops.server_binary import Flavour
from quantum_ops.errors import ConfigurationError


def flavour(text: str) -> Flavour:
    name, version = text.split()
    major, minor, patch = map(int, version.split("."))
    return Flavour(name, (major, minor, patch))


MEASURED = [
    # written by, then who reads it: each was loaded with each
    ("redis 6.2.14", ["redis 7.0.15", "redis 8.2.3", "valkey 8.1.8", "valkey 9.1.2"]),
    ("redis 7.0.15", ["redis 7.0.15", "redis 8.2.3", "valkey 8.1.8", "valkey 9.1.2"]),
    ("redis 8.2.3", ["redis 8.2.3"]),
    ("valkey 8.1.8", ["redis 8.2.3", "valkey 8.1.8", "valkey 9.1.2"]),
    ("valkey 9.1.2", ["valkey 9.1.2"]),
]
READERS = ["redis 6.2.14", "redis 7.0.15", "redis 8.2.3", "valkey 8.1.8", "valkey 9.1.2"]


@pytest.mark.parametrize(("writer", "readers"), MEASURED)
def test_the_rules_are_the_measured_table(writer, readers):
    found = [r for r in READERS if data_folder.can_read(flavour(r), flavour(writer))]
    assert found == readers


versions = st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
flavours = st.builds(Flavour, st.sampled_from(["redis", "valkey"]), versions)


@given(flavours, flavours)
def test_a_stamp_survives_and_an_older_server_of_the_kind_is_never_let_in(
    tmp_path_factory, server, writer
):
    # given a folder stamped by one server
    folder = tmp_path_factory.mktemp("d")
    (folder / "WRITTEN_BY").write_text(f"{writer}\n")
    # when another asks to open it
    try:
        data_folder.admit(folder, server)
    except ConfigurationError as error:
        # then it is refused with the stamp untouched and the writer named
        assert (folder / "WRITTEN_BY").read_text() == f"{writer}\n"
        assert str(writer) in error.lines[0]
        assert not data_folder.can_read(server, writer)
    else:
        # or let in, with its own name on the folder before it writes
        assert (folder / "WRITTEN_BY").read_text() == f"{server}\n"
        assert not (server.name == writer.name and server.version[:2] < writer.version[:2])


@pytest.mark.parametrize("file", ["dump.rdb", "appendonlydir", "appendonly.aof"])
def test_files_of_unknown_origin_are_refused(tmp_path, file):
    # given a dump that somebody copied here; a server with appendonly on would ignore it
    (tmp_path / file).mkdir()
    with pytest.raises(ConfigurationError, match=file):
        data_folder.admit(tmp_path, flavour("valkey 9.1.2"))
    assert not (tmp_path / "WRITTEN_BY").exists()


@pytest.mark.parametrize("stamp", [b"", b"valkey\n", b"\xff\xfe", b"valkey 9.1.2\nmore\n"])
def test_a_stamp_that_is_none_is_refused_with_its_cure(tmp_path, stamp):
    (tmp_path / "WRITTEN_BY").write_bytes(stamp)
    with pytest.raises(ConfigurationError, match="WRITTEN_BY"):
        data_folder.admit(tmp_path, flavour("valkey 9.1.2"))
    assert (tmp_path / "WRITTEN_BY").read_bytes() == stamp


def _hold_until_told(folder, holding, go):
    data_folder.hold(folder, 0)
    holding.set()
    go.wait(10)


def test_the_lock_has_one_holder_and_no_stale_ones(tmp_path):
    context = multiprocessing.get_context("spawn")
    holding, go = context.Event(), context.Event()
    other = context.Process(target=_hold_until_told, args=(tmp_path, holding, go))
    other.start()
    try:
        assert holding.wait(20)
        # given another holder, then we are refused, and told who it is
        assert data_folder.holder(tmp_path) == other.pid
        with pytest.raises(ConfigurationError, match=f"pid {other.pid}"):
            data_folder.hold(tmp_path, 0.1)
        # when it is killed
        other.kill()
        other.join(10)
        # then the lock is free at once
        assert data_folder.holder(tmp_path) is None
        fd = data_folder.hold(tmp_path, 0)
        assert os.get_inheritable(fd)
        os.close(fd)
    finally:
        other.kill()
        other.join(10)
        other.close()
