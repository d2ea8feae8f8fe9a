"""Where the system keeps its files, which server it uses, and what describes it while it runs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops import running
from ops.paths import MAX_SOCKET_PATH, Paths, own_privately, run_dir_for
from ops.running import Running
from quantum_ops.errors import ConfigurationError
from quantum_ops.settings import RedisSettings


@given(st.text("abc/ ", max_size=150))
def test_sockets_always_fit_and_always_lie_at_the_same_place(tail):
    # given any home
    home = Path("/h" + tail)
    folder = run_dir_for(home, 1000)
    # then a socket there fits with supervisord's own suffix, and the answer is stable
    assert len(os.fsencode(folder / "supervisor.sock")) <= MAX_SOCKET_PATH
    assert folder == run_dir_for(home, 1000)


def test_the_run_folder_does_not_depend_on_the_session(monkeypatch):
    home = Path("/" + "long/" * 30)
    before = run_dir_for(home, 7)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert run_dir_for(home, 7) == before
    assert run_dir_for(home, 8) != before
    assert run_dir_for(home / "other", 7) != before


def test_a_run_folder_of_somebody_else_is_refused(tmp_path):
    # given a symbolic link where the folder should be
    (tmp_path / "theirs").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "theirs")
    with pytest.raises(ConfigurationError, match="is not a folder of user"):
        own_privately(tmp_path / "run")


def test_an_open_run_folder_is_closed(tmp_path):
    (tmp_path / "run").mkdir(mode=0o755)
    own_privately(tmp_path / "run")
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


@pytest.mark.parametrize("sign", ["*", "[", '"', "\\", "\n"])
def test_a_home_that_supervisord_cannot_carry_is_refused_by_name(sign):
    with pytest.raises(ConfigurationError, match="QUANTUM_HOME"):
        Paths.find(environ={"QUANTUM_HOME": f"/h/a{sign}b"})


def test_the_demo_has_data_of_its_own():
    live = Paths.find(environ={"QUANTUM_HOME": "/h"})
    demo = Paths.find("demo", environ={"QUANTUM_HOME": "/h"})
    assert live.data != demo.data
    assert live.data not in demo.data.parents
    assert demo.environment(owned=True)["QUANTUM_INCLUDE"] == "server.d/*.conf demo.d/*.conf"
    # and it runs from the checkout: what was deployed is of the live system
    assert live.environment(owned=False)["QUANTUM_INCLUDE"] == "/h/releases/conf.d/*.conf"


@pytest.mark.parametrize(
    ("settings", "url", "owned"),
    [
        (RedisSettings(), "unix:///h/a%20b/run/redis.sock", True),
        (RedisSettings(db=3), "unix:///h/a%20b/run/redis.sock?db=3", True),
        (RedisSettings(host="10.0.0.1"), "redis://10.0.0.1:6379/0", False),
        (RedisSettings(host="127.0.0.1", password="s"), "redis://:s@127.0.0.1:6379/0", False),
        (RedisSettings(url="redis://far:1/2", host="near"), "redis://far:1/2", False),
    ],
)
def test_a_named_server_is_used_and_none_is_started(settings, url, owned):
    planned = running.plan(settings, Paths.find(environ={"QUANTUM_HOME": "/h/a b"}))
    assert (planned.url, planned.owned) == (url, owned)


def test_a_password_without_a_server_is_not_ignored():
    with pytest.raises(ConfigurationError, match="REDIS_PASSWORD is set"):
        running.plan(RedisSettings(password="s"), Paths.find(environ={"QUANTUM_HOME": "/h"}))


def test_what_is_written_is_read_and_private(tmp_path):
    path = tmp_path / "current.env"
    is_running = Running("unix:///a%20b/redis.sock?db=1", 6380, "demo", Path("/a b"))
    # given a description written twice, the second time over a draft that a kill left
    running.write(path, is_running)
    path.with_suffix(".new").write_text("half a li")
    running.write(path, is_running)
    # then it is whole, ours alone, and there is no draft
    assert running.read(path) == is_running
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(item.name for item in tmp_path.iterdir()) == ["current.env"]


@given(st.binary(max_size=200))
def test_a_description_that_is_none_reads_as_none(tmp_path_factory, junk):
    path = tmp_path_factory.mktemp("r") / "current.env"
    path.write_bytes(junk)
    assert running.read(path) is None


@pytest.mark.parametrize("lost", ["REDIS_URL", "REDIS_PORT", "PROFILE", "QUANTUM_RUN_DIR"])
def test_a_description_that_lacks_a_line_reads_as_none(tmp_path, lost):
    path = tmp_path / "current.env"
    running.write(path, Running("unix:///a", 6379, "live", Path("/a")))
    kept = [line for line in path.read_text().splitlines() if not line.startswith(lost)]
    path.write_text("\n".join(kept))
    assert running.read(path) is None


def test_who_writes_to_a_running_system_waits_for_the_replicas_and_who_looks_does_not(monkeypatch):
    # Given a system on a server that only its own environment names, and what the settings want
    monkeypatch.setenv("QUANTUM_WAIT_REPLICAS", "1")
    monkeypatch.setenv("QUANTUM_WAIT_REPLICAS_MS", "300")
    current = Running("sentinel://a:1/q", 0, "live", Path("/a"))
    writing, looking = current.redis(5.0, writes=True), current.redis(0.2)
    assert (writing.wait_replicas, writing.wait_replicas_ms) == (1, 300)
    assert looking.wait_replicas == 0
