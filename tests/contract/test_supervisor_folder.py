"""Rules that every stanza keeps, whoever adds it."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ops import leftovers
from ops.paths import Paths
from quantum_ops import lifeline
from quantum_ops.settings import RuntimeSettings

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "supervisor"
STANZAS = sorted(FOLDER.glob("*.d/*.conf"))


def programs():
    for path in STANZAS:
        parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
        parser.read(path)
        for section in parser.sections():
            kind, colon, name = section.partition(":")
            if colon and kind in ("program", "eventlistener"):
                yield path, name, dict(parser[section])


PROGRAMS = list(programs())
each = pytest.mark.parametrize(
    ("path", "name", "stanza"), PROGRAMS, ids=[name for _, name, _ in PROGRAMS]
)


def test_the_folder_holds_configuration_only():
    # With a single .py or __init__.py here, children could not import the PyPI package.
    found = {p.suffix for p in FOLDER.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert found == {".conf"}


def test_the_pypi_package_wins_from_the_root_of_the_checkout():
    code = "import supervisor.supervisord as s; print(s.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "site-packages" in found


def test_no_groups():
    # A group lists its members in one file, and one changed member restarts all of them.
    assert [path for path in STANZAS if re.search(r"(?m)^\[group:", path.read_text())] == []


@each
def test_one_program_one_file_of_its_name(path, name, stanza):
    assert path.stem == name
    # The number at the end of a process name is read as its number.
    assert not re.search(r"-\d+$", name)


@each
def test_a_refused_setting_stays_down_and_everything_else_comes_back(path, name, stanza):
    assert stanza["exitcodes"] == str(lifeline.EX_CONFIG)
    assert stanza.get("autorestart", "unexpected") == "unexpected"
    assert float(stanza.get("startsecs", 1)) == lifeline.STARTSECS_S
    assert int(stanza["startretries"]) >= 10


@each
def test_a_stop_drains_the_leader_and_kills_nobody_too_early(path, name, stanza):
    longest_block_s = 10.0
    assert RuntimeSettings().block_ms / 1000 <= longest_block_s
    assert int(stanza["stopwaitsecs"]) > longest_block_s
    assert stanza["killasgroup"] == "true"
    assert stanza.get("stopasgroup", "false") == "false"
    assert stanza.get("stopsignal", "TERM") == "TERM"


@each
def test_each_process_has_a_log_of_its_own_and_a_stable_name(path, name, stanza):
    if "events" in stanza:
        # Its standard output is the line to supervisord, where no other word may fall.
        assert (stanza["stdout_logfile"], stanza.get("redirect_stderr")) == ("NONE", None)
        assert stanza["stderr_logfile"] == "%(ENV_QUANTUM_HOME)s/log/%(program_name)s.log"
        assert int(stanza["buffer_size"]) >= 1000
        return
    assert stanza["redirect_stderr"] == "true"
    assert stanza["stdout_logfile"].startswith("%(ENV_QUANTUM_HOME)s/log/")
    if name.endswith("_spare"):
        # Its processes go on where those of the program itself end, under the same name.
        family = name.removesuffix("_spare")
        assert stanza["process_name"] == f"{family}-%(process_num)02d"
        assert stanza["stdout_logfile"].endswith(f"/log/{family}-%(process_num)02d.log")
        assert (stanza["numprocs_start"], stanza["autostart"]) == ("1", "false")
    elif "process_name" in stanza:
        assert stanza["process_name"] == "%(program_name)s-%(process_num)02d"
        assert "%(process_num)02d" in stanza["stdout_logfile"]
    else:
        assert "numprocs" not in stanza


@each
def test_the_interpreter_is_quoted_and_the_module_is_ours(path, name, stanza):
    assert re.match(r'"%\(ENV_QUANTUM_PYTHON\)s" -m (consumers|producers|ops)\b', stanza["command"])


def test_the_server_is_stopped_last():
    orders = {name: int(stanza.get("priority", 999)) for _, name, stanza in PROGRAMS}
    assert orders["redis"] == min(orders.values())
    assert [name for name, order in orders.items() if order == orders["redis"]] == ["redis"]


def test_the_warden_sees_the_end_of_all_others():
    orders = {name: int(stanza.get("priority", 999)) for _, name, stanza in PROGRAMS}
    later = {name for name, order in orders.items() if order <= orders["warden"]}
    assert later == {"redis", "warden"}


def test_systemd_waits_longer_than_every_tier_may_take():
    unit = (ROOT / "ops" / "systemd" / "quantum-ops.service").read_text()
    patience_s = int(re.search(r"(?m)^TimeoutStopSec=(\d+)$", unit)[1])
    tiers: dict[int, int] = {}
    for _, _, stanza in PROGRAMS:
        tier = int(stanza.get("priority", 999))
        tiers[tier] = max(tiers.get(tier, 0), int(stanza["stopwaitsecs"]))
    assert patience_s > sum(tiers.values())
    # And the programs of a killed supervisord get as long as supervisord would have given them.
    assert max(s for tier, s in tiers.items() if tier > 1) <= leftovers.DRAIN_S


def test_supervisord_itself_reads_it_with_every_include(tmp_path):
    # given the environment that a start exports, with everything included, in a path with blanks
    paths = Paths.find("demo", environ={"QUANTUM_HOME": str(tmp_path / "a home")})
    environ = {**os.environ, **paths.environment(owned=True)}
    paths.create()
    code = (
        "import sys; from supervisor.options import ServerOptions; o = ServerOptions();"
        "o.realize(['-c', sys.argv[1]]); print(o.parse_warnings);"
        "print(*[p.name for g in o.process_group_configs for p in g.process_configs])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(paths.supervisord_conf)],
        cwd=ROOT, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    warnings, names = done.stdout.splitlines()
    assert warnings == "[]"
    assert {"redis", "universe", "universe_audit-00"} <= set(names.split())


def test_a_plain_supervisorctl_in_the_root_finds_its_configuration_without_our_environment():
    code = (
        "from supervisor.options import ClientOptions; o = ClientOptions(); o.realize(['status']);"
        "print(o.serverurl, [name for name, *_ in o.plugin_factories])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=ROOT, env={"PATH": "/usr/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    # Without a plugin: an installation that cannot import it would fail in every action.
    wanted = f"unix://{ROOT}/var/run/supervisor.sock ['default']"
    assert done.stdout.strip() == wanted, done.stderr


def test_the_socket_is_private_and_there_is_no_other():
    text = (FOLDER / "supervisord.conf").read_text()
    assert "chmod=0700" in text
    assert not re.search(r"(?m)^\[inet_http_server\]", text)
    assert re.search(r"(?m)^umask=077$", text)
    assert re.search(r"(?m)^childlogdir=%\(ENV_QUANTUM_HOME\)s/log$", text)


def test_a_server_that_says_written_has_it_on_disk():
    text = (ROOT / "ops" / "redis" / "server.conf").read_text()
    lines = {line for line in text.splitlines() if line and not line.startswith("#")}
    assert {
        "appendonly yes", "appendfsync always", "no-appendfsync-on-rewrite no",
        "maxmemory-policy noeviction", "protected-mode yes", "bind 127.0.0.1", 'save ""',
    } <= lines  # fmt: skip
