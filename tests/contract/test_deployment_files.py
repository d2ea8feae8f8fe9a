"""Example settings and systemd units are complete, and what they name exists."""

from __future__ import annotations

import configparser
import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from quantum_ops import knobs
from quantum_ops.settings import LedgerSettings, P33Settings, RedisSettings, UniverseSettings
from tests.contract.reference import ROOT
from tests.script_box import needed

EXAMPLE = ROOT / "ops" / "env" / "universe-service.env.example"
UNITS = sorted((ROOT / "ops" / "systemd").glob("*.service"))
HARDENED = [
    "NoNewPrivileges",
    "ProtectSystem",
    "PrivateTmp",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "RestrictAddressFamilies",
    "RestrictSUIDSGID",
    "LockPersonality",
    "CapabilityBoundingSet",
]


def test_example_has_the_values_of_the_specification_and_they_load(tmp_path):
    shutil.copy(EXAMPLE, tmp_path / "universe-service.env")
    environ = {"QUANTUM_ENV_DIR": str(tmp_path)}
    universe, redis = knobs.load(UniverseSettings, environ), knobs.load(RedisSettings, environ)
    assert (universe.mode, universe.refresh_s, universe.max_symbols) == ("testnet", 60, 800)
    assert universe.http_timeout_s == 10
    assert (redis.host, redis.port, redis.db) == ("127.0.0.1", 6379, 0)


def test_every_setting_of_the_producer_stands_in_the_example():
    text = EXAMPLE.read_text(encoding="utf-8")
    for field in dataclasses.fields(UniverseSettings):
        assert re.search(rf"^#?{field.metadata['env']}=", text, re.MULTILINE), field.metadata["env"]


def test_what_is_commented_out_loads_once_it_is_not(tmp_path):
    text = re.sub(r"^#([A-Z_]+=)", r"\1", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (tmp_path / "a.env").write_text(text, encoding="utf-8")
    found = knobs.load(UniverseSettings, {"QUANTUM_ENV_DIR": str(tmp_path)})
    assert found.symbol_regex.fullmatch("AUSDT")
    assert (
        dataclasses.replace(found, url="", symbol_regex=UniverseSettings().symbol_regex)
        == UniverseSettings()
    )


def test_example_of_p33_has_the_values_of_the_specification_and_names_every_setting(tmp_path):
    example = ROOT / "ops" / "env" / "position-state-brain.env.example"
    text = example.read_text(encoding="utf-8")
    (tmp_path / "position-state-brain.env").write_text(text, encoding="utf-8")
    found = knobs.load(P33Settings, {"QUANTUM_ENV_DIR": str(tmp_path)})
    assert (found.universe_enable, found.cache_s, found.allowlist) == (True, 60, ("BTCUSDT",))
    for field in dataclasses.fields(P33Settings):
        if field.metadata["env"] != "UNIVERSE_MODE":
            assert re.search(rf"^#?{field.metadata['env']}=", text, re.MULTILINE), field.name
    # And what is commented out shows the defaults
    bare = re.sub(r"^#([A-Z0-9_]+=)", r"\1", text, flags=re.MULTILINE)
    (tmp_path / "position-state-brain.env").write_text(bare, encoding="utf-8")
    whole = knobs.load(P33Settings, {"QUANTUM_ENV_DIR": str(tmp_path)})
    shown = dataclasses.replace(whole, allowlist=(), mode="", signing_key="")
    assert shown == P33Settings()


def test_example_of_the_ledger_names_every_setting_and_changes_none(tmp_path):
    text = (ROOT / "ops" / "env" / "ledger.env.example").read_text(encoding="utf-8")
    (tmp_path / "ledger.env").write_text(text, encoding="utf-8")
    assert knobs.load(LedgerSettings, {"QUANTUM_ENV_DIR": str(tmp_path)}) == LedgerSettings()
    for field in dataclasses.fields(LedgerSettings):
        assert re.search(rf"^#?{field.metadata['env']}=", text, re.MULTILINE), field.name


def test_the_ledger_of_the_unit_lies_where_it_may_be_written():
    unit = (ROOT / "ops" / "systemd" / "quantum-ops.service").read_text(encoding="utf-8")
    state = re.search(r"^StateDirectory=(.*)$", unit, re.MULTILINE)[1]
    folder = re.search(r"^Environment=LEDGER_DIR=(.*)$", unit, re.MULTILINE)[1]
    assert Path(folder).is_relative_to(f"/var/lib/{state}")


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_unit_is_hardened_and_gives_up_on_wrong_settings(path):
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    unit.read(path, encoding="utf-8")
    service = unit["Service"]
    assert [key for key in HARDENED if key not in service] == []
    assert "78" in service["RestartPreventExitStatus"]
    assert service.get("User", "root") != "root"
    module = re.search(r"-m (\w+) (\w+)", service["ExecStart"])
    if module:
        assert (ROOT / module[1] / "__main__.py").exists()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_itself_understands_the_unit(path, tmp_path):
    analyze = needed("systemd-analyze", "systemd")
    # The program need not stand on this box: its place is taken by one that does.
    text = re.sub(r"(?m)^(Exec\w+)=\S+", r"\1=/bin/true", path.read_text(encoding="utf-8"))
    unit = tmp_path / path.name
    unit.write_text(text, encoding="utf-8")
    told = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True,
                          check=False).stderr  # fmt: skip
    # Of other units of the box it complains, too.
    assert [line for line in told.splitlines() if path.name in line] == []
