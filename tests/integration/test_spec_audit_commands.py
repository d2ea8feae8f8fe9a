"""The specification's commands of both audit scripts, as the spec map has them, typed and run."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from quantum_ops import streams
from tests.contract.test_spec_map import ROWS
from tests.script_box import KINDS, Box, needed, redis_cli
from tests.sshd import Sshd

COMMANDS = [
    row[0].strip("`")
    for row in ROWS
    if row[0].startswith(("`./ops/permit_audit.sh ", "`./ops/proof_order_id.sh "))
]
LOCAL = [command for command in COMMANDS if "--remote" not in command]
REMOTE = [command for command in COMMANDS if "--remote" in command]


def fill(db) -> None:
    """What the specification's examples show: 15, 16 and 16 permits, one proof."""
    for prefix, count in (("", 15), ("p26:", 16), ("p33:", 16)):
        for number in range(count):
            db.set(f"quantum:permit:{prefix}plan{number}", 1)
    for symbol, plan_id in (("SOLUSDT", "harv_sol_001"), ("BTCUSDT", "harv_btc_001")):
        fields = {"plan_id": plan_id, "symbol": symbol, "executed": "true", "order_id": "12345678"}
        db.xadd(streams.APPLY_RESULT.key, fields)


def judged(command: str, done) -> None:
    assert (done.returncode, done.stderr) == (0, ""), command
    if "proof_order_id" in command:
        assert "✅ PROOF FOUND: executed=true + order_id present" in done.stdout
        wanted = "SOLUSDT" if "sol" in command.lower() else "BTCUSDT"
        assert f"Symbol:      {wanted}" in done.stdout
    elif "--json" in command:
        assert '"total": 47' in done.stdout
    else:
        assert "GOVERNOR PERMITS: 15 keys" in done.stdout
        assert "STATUS: ✅ ALL THREE PERMIT SOURCES ACTIVE" in done.stdout
    if "--sample" in command:
        wanted = int(command.partition("--sample ")[2])
        assert done.stdout.count("  plan") == 3 * wanted


def test_there_are_commands_of_both_kinds():
    assert len(LOCAL) >= 6
    assert len(REMOTE) >= 5


@pytest.mark.parametrize("command", LOCAL)
@pytest.mark.parametrize("kind", KINDS)
def test_command_on_this_machine(command, kind, valkey, tmp_path):
    fill(valkey.connect())
    program, *argv = shlex.split(command)
    judged(command, Box(tmp_path, valkey.url, kind).run(Path(program).name, *argv))


@pytest.fixture(scope="module")
def remote(tmp_path_factory):
    """A machine with nothing but sh and redis-cli."""
    folder = tmp_path_factory.mktemp("remote")
    tools = folder / "tools"
    tools.mkdir()
    (tools / "sh").symlink_to(needed("sh", "dash"))
    (tools / "redis-cli").symlink_to(redis_cli())
    with Sshd(folder / "ssh", str(tools)) as sshd:
        yield sshd


@pytest.mark.parametrize("command", REMOTE)
def test_command_by_ssh(command, remote, valkey, tmp_path):
    fill(valkey.connect())
    # What the specification leaves open: a host, a key, and the server over there
    typed = command.replace("user@host", remote.address).replace("~/.ssh/mykey", str(remote.key))
    program, *argv = shlex.split(typed)
    box = Box(tmp_path, f"unix://{tmp_path}/none", KINDS[1])
    box.environ["PATH"] = f"{Path(needed('ssh', 'openssh-client')).parent}:/usr/bin:/bin"
    more = {
        "PERMIT_AUDIT_HOST": remote.address, "PERMIT_AUDIT_KEY": str(remote.key),
        "PERMIT_AUDIT_KNOWN_HOSTS": str(remote.known_hosts), "PERMIT_AUDIT_REDIS_URL": valkey.url,
    }  # fmt: skip
    if "--host" in command:
        del more["PERMIT_AUDIT_HOST"], more["PERMIT_AUDIT_KEY"]
    judged(command, box.run(Path(program).name, *argv, **more))
