"""Every command that a runbook or the README's five questions tell to type is one that there is."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex

import pytest

from ops import ledger_options
from ops.__main__ import names, summary
from quantum_ops import consumer
from tests.contract.reference import ROOT

PAGES = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
LINES = sorted(
    {
        (line, page.name)
        for page in PAGES
        for block in re.findall(r"```sh(?: acts)?\n(.*?)```", page.read_text(), re.DOTALL)
        for line in block.splitlines()
    }
    | {
        (line, page.name)
        for page in PAGES
        for line in re.findall(r"`(\./run [^`]+)`", page.read_text())
    }
)
TYPED = [(line, page) for line, page in LINES if line.startswith("./run ")]
PROGRAMS = {path.stem for path in (ROOT / "supervisor").glob("*.d/*.conf")} | {"NAME"}
GROUPS = set(consumer.names("consumers"))


def test_pages_use_commands_that_are_checked():
    others = {line for line, _ in LINES} - {line for line, _ in TYPED}
    known = ("bash ops/", "curl -s ", "curl -s --max-time", "uptime", "df -h .")
    assert [line for line in others if not line.startswith(known)] == []
    for line in others:
        if line.startswith("bash "):
            assert (ROOT / line.split()[1]).exists(), line


@pytest.mark.parametrize(("line", "page"), TYPED)
def test_command_is_one_that_its_verb_takes(line, page, capsys):
    verb, *argv = shlex.split(line.removeprefix("./run "))
    argv = argv[: argv.index("|")] if "|" in argv else argv
    assert verb in names(), f"{page}: {line}"
    if verb in {"logs", "restart", "scale", "hold", "release"}:
        assert argv[0] in PROGRAMS, f"{page}: there is no program {argv[0]}"
    if verb in {"lag", "pending"} and argv and not argv[0].startswith("-"):
        assert argv[0] in GROUPS, f"{page}: there is no group {argv[0]}"
    module = importlib.import_module(f"ops.verbs.{verb.replace('-', '_')}")
    argv = ["1" if word == "N" else word for word in argv]
    try:
        if verb == "ledger":
            ledger_options.parser().parse_args(ledger_options.joined(argv))
        elif not getattr(module, "raw", False):
            parser = argparse.ArgumentParser(prog=f"./run {verb}", description=summary(verb))
            module.configure(parser)
            parser.parse_args(argv)
    except SystemExit:
        pytest.fail(f"{page}: {line}\n{capsys.readouterr().err}")
