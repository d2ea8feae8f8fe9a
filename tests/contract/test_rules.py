"""Rules of this repository, each as a test: if it is a rule, it goes red here."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from producers.__main__ import PRODUCERS
from quantum_ops import consumer
from tests.contract import reference

ROOT = reference.ROOT
PACKAGES = ("quantum_ops", "consumers", "producers", "ops")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", reference.TABLES)
def test_reference_tables_are_in_step_with_the_code(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    cure = "run: python -m tests.contract.reference"
    assert reference.rendered(path, text) == text, cure


def test_every_package_is_part_of_what_is_built():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {shown(path.parent).replace("/", ".") for path in SOURCES if path.stem == "__init__"}
    assert set(listed["packages"]) == found
    assert {shown(path.parent).replace("/", ".") for path in SOURCES} == found
    assert set(listed["package-data"]) <= found


def test_layers_are_kept():
    lint = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_the_ledger_needs_the_standard_library_alone():
    # Signatures are made by cryptography where it is there, else by openssl.
    optional = {"quantum_ops/ledger/ed25519.py": {"cryptography"}}
    for path in sorted((ROOT / "quantum_ops" / "ledger").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{shown(path)}: say the whole name"
                names = [node.module or ""]
            for name in names:
                ours = name == "quantum_ops.ledger" or name.startswith("quantum_ops.ledger.")
                allowed = sys.stdlib_module_names | optional.get(shown(path), set())
                assert ours or name.split(".")[0] in allowed, f"{shown(path)} imports {name}"


@pytest.mark.parametrize("name", consumer.names("consumers"))
def test_every_consumer_has_its_name_and_its_stanza(name):
    found = consumer.find("consumers", name)
    assert found.name == name
    assert found.doc, "the first line of its docstring is what --list shows"
    stanza = ROOT / "supervisor" / "conf.d" / f"{name}.conf"
    assert f"[program:{name}]" in stanza.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", consumer.names("consumers"))
def test_every_consumer_states_whether_it_is_replay_safe(name):
    source = (ROOT / "consumers" / f"{name}.py").read_text(encoding="utf-8")
    [decorator] = [
        one
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name == name
        for one in node.decorator_list
    ]
    assert isinstance(decorator, ast.Call)
    stated = [keyword.arg for keyword in decorator.keywords]
    assert "replay_safe" in stated, "may its entries be handed over again? see docs/restore.md"


@pytest.mark.parametrize("name", PRODUCERS)
def test_every_producer_has_its_module_and_its_stanza(name):
    assert (ROOT / "producers" / f"{name}.py").exists()
    stanza = ROOT / "supervisor" / "conf.d" / f"{name}.conf"
    assert f"[program:{name}]" in stanza.read_text(encoding="utf-8")


def test_every_stanza_runs_something_that_exists():
    for path in sorted((ROOT / "supervisor" / "conf.d").glob("*.conf")):
        command = re.search(r"^command\s*=\s*(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert command, path
        package = re.search(r"-m (\w+)", command[1])
        assert package, f"{path}: {command[1]}"
        assert package[1] in PACKAGES, f"{path}: {command[1]}"


@pytest.mark.parametrize("path", SOURCES, ids=shown)
def test_module_says_what_it_is_and_stays_small(path):
    source = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(source)), "the first line says what the file is about"
    assert source.count("\n") <= 400, "it holds more than one noun: split it"


def test_median_module_is_small():
    sizes = sorted(path.read_text(encoding="utf-8").count("\n") for path in SOURCES)
    assert sizes[len(sizes) // 2] <= 150


def test_keys_are_spelt_in_the_catalogue_only():
    spelt = re.compile(r"[\"']quantum:(stream|cfg|ops|permit|state|position|cooldown|reconcile):")
    # The demo's stand-in trading side writes keys that are not ours.
    allowed = {"quantum_ops/streams.py"}
    found = [
        shown(path)
        for path in SOURCES
        if shown(path) not in allowed
        and not shown(path).startswith("ops/demo/")
        and any(spelt.search(line) for line in _code_lines(path))
    ]
    assert found == []


def _code_lines(path: Path) -> list[str]:
    """Lines of ``path`` without its docstrings."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    told: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            first = node.body[0]
            told |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return [line for number, line in enumerate(source.splitlines(), 1) if number not in told]


def test_redis_clients_are_built_in_one_place_only():
    built = re.compile(r"\b(redis\.Redis\(|StrictRedis|walrus\.Database\()")
    found = [
        shown(path)
        for path in SOURCES
        if shown(path) != "quantum_ops/client.py" and built.search("\n".join(_code_lines(path)))
    ]
    assert found == []


def test_no_module_reads_the_environment_at_import():
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(
                node, (ast.FunctionDef, ast.ClassDef, ast.If, ast.Import, ast.ImportFrom)
            ):
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # the docstring
            assert "environ" not in ast.dump(node), shown(path)


def test_docs_link_only_to_what_exists():
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{shown(page)} links to {target}"


def test_findings_of_the_auditor_are_documented():
    streams_page = (ROOT / "docs" / "streams.md").read_text(encoding="utf-8")
    for table in reference.AUDITORS.values():
        assert all(f"`{name}`" in streams_page for name in table)


def test_ci_installs_what_a_test_would_be_skipped_without():
    # A skip that CI never sees hides a promise.
    installs = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    told = re.compile(r"\(apt-get install (?:--\S+ )*([a-z0-9 .+-]+)\)")
    asked = re.compile(r'(?:needed|without)\("[^"]+", "([^"]+)"\)')
    wanted: dict[str, str] = {}
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        found = told.findall(text) + (asked.findall(text) if "script_box" in text else [])
        wanted |= {name: path.name for packages in found for name in packages.split()}
    assert {"zstd", "jq", "redis-tools", "systemd"} <= wanted.keys()
    assert {name: where for name, where in wanted.items() if name not in installs} == {}
