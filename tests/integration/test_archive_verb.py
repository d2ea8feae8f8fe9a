"""`./run archive`: what an operator types, and what it answers."""

from __future__ import annotations

import json
import re

import pytest

from ops.__main__ import entry as run
from ops.verbs.archive import key_of
from quantum_ops import streams
from quantum_ops.ledger import checkpoint
from tests.archive_rig import PLAN, RESULT, T0, fill, id_of
from tests.integration.test_archive_trim import TrimRig


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTUM_HOME", str(tmp_path / "home"))
    return fill(tmp_path / "home" / "archive", 300, segment_bytes=9000)


def answer(capsys, *argv: str) -> tuple[int, str, str]:
    code = run(["archive", *argv])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_status_says_what_is_in_it(folder, capsys):
    code, out, _ = answer(capsys)
    assert code == 0
    assert f"{folder.base}: 300 entries in" in out
    assert "checkpoint covers 300, not signed" in out
    assert [line.split()[:2] for line in out.splitlines()[-2:]] == [
        ["apply.plan", "200"],
        ["apply.result", "100"],
    ]
    assert "2026-01-27 06:15:30" in out
    code, out, _ = answer(capsys, "status", "--json")
    told = json.loads(out)
    assert (code, told["entries"], told["streams"][RESULT]["first"]) == (0, 300, f"{T0}-0")


def test_no_archive_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("QUANTUM_HOME", str(tmp_path))
    code, _, err = answer(capsys, "status")
    assert (code, "no archive there yet" in err) == (4, True)


def test_verify_says_yes_and_no(folder, capsys, tmp_path):
    code, out, _ = answer(capsys, "verify")
    count = len(folder.names())
    holds = f"✅ 300 entries in {count} segments are what was written; a checkpoint covers 300\n"
    assert (code, out) == (0, holds)
    kept = tmp_path / "kept"
    kept.write_text(checkpoint.newest(folder).text(), encoding="utf-8")
    assert answer(capsys, "verify", "--checkpoint", str(kept))[0] == 0
    name = folder.names()[1]
    path = folder.packed(name)
    bad = bytearray(path.read_bytes())
    bad[len(bad) // 2] ^= 1
    path.write_bytes(bad)
    code, out, _ = answer(capsys, "verify")
    assert code == 2
    # Which of its lines is the first that is lost depends on how zstd cut the block.
    found = re.match(f"❌ {path.name} line ([0-9]+): the block of lines 1 to ([0-9]+) ", out)
    assert found, out
    assert 1 <= int(found[1]) <= int(found[2])
    code, out, _ = answer(capsys, "verify", "--json")
    [fault] = json.loads(out)["faults"]
    assert (code, fault["segment"], fault["line"]) == (2, path.name, int(found[1]))


def test_verify_refuses_what_is_no_checkpoint_and_no_key(folder, capsys, tmp_path):
    (tmp_path / "no").write_text("nonsense")
    code, _, err = answer(capsys, "verify", "--checkpoint", str(tmp_path / "no"))
    assert (code, "a checkpoint is name, size and root" in err) == (1, True)
    code, _, err = answer(capsys, "verify", "--key", "nonsense")
    assert (code, "not a key such as" in err) == (1, True)
    code, _, err = answer(capsys, "verify", "--checkpoint", str(tmp_path / "absent"))
    assert (code, "No such file" in err) == (1, True)


def test_cat_gives_the_lines_within_a_window(folder, capsys):
    code, out, _ = answer(
        capsys, "cat", "--stream", "apply.result", "--since", "2026-01-27T06:15:30Z",
        "--until", f"{T0 + 9}-0",
    )  # fmt: skip
    assert code == 0
    assert [json.loads(line)["id"] for line in out.splitlines()] == [
        id_of(number).decode() for number in (0, 3, 6, 9)
    ]


def test_cat_decodes_what_can_be_decoded(folder, capsys):
    code, out, _ = answer(capsys, "cat", "--event", "--until", str(T0 + 1))
    plan, result = sorted(map(json.loads, out.splitlines()), key=lambda one: one["stream"])
    assert code == 0
    assert plan["event"]["symbol"] == "BTCUSDT"
    assert result["error"] == "field 'executed': is missing"


@pytest.mark.parametrize("argv", [["--stream", "nonsense"], ["--since", "yesterday"]])
def test_cat_says_what_it_does_not_understand(folder, capsys, argv):
    code, out, err = answer(capsys, "cat", *argv)
    assert (code, out) == (1, "")
    assert argv[1] in err
    assert "there are" in err or "write 1769494530123-0" in err


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("5-3", (5, 3), (5, 3)),
        (str(T0), (T0, 0), (T0, 2**64 - 1)),
        ("2026-01-27T06:15:30Z", (T0, 0), (T0, 2**64 - 1)),
        ("2026-01-27T06:15:30", (T0, 0), (T0, 2**64 - 1)),
        ("2026-01-27T07:15:30+01:00", (T0, 0), (T0, 2**64 - 1)),
    ],
)
def test_a_moment_is_an_id(text, low, high):
    assert (key_of(text, low=True), key_of(text, low=False)) == (low, high)


def test_reindex_brings_back_what_was_lost(folder, capsys):
    name = folder.names()[1]
    before = folder.index(name).read_bytes()
    folder.index(name).unlink()
    folder.marks(name).unlink()
    code, _, err = answer(capsys, "status")
    assert (code, "reindex" in err) == (2, True)
    assert answer(capsys, "reindex")[0] == 0
    assert folder.index(name).read_bytes() == before
    assert answer(capsys, "verify")[0] == 0


def test_trim_says_what_would_go_and_does_it_only_when_told(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("QUANTUM_HOME", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", server.url)
    rig = TrimRig(server, tmp_path / "archive")
    key = streams.OPS_PROCESS.key
    rig.old(10, key)
    rig.old(10, PLAN)
    rig.sealed()
    code, out, _ = answer(capsys, "trim", "ops.process", "apply.plan", "--dry-run")
    assert code == 0
    assert out.splitlines() == [
        "ops.process        9 would go; the next is kept: group archive has read up to it",
        "apply.plan         kept: the trading side's; --trading includes it",
        "",
        "nothing was removed; --yes does it",
    ]
    assert rig.db.xlen(key) == 10
    code, out, _ = answer(capsys, "trim", "ops.process", "--yes")
    assert (code, out.split()[1:3]) == (0, ["9", "removed;"])
    assert (rig.db.xlen(key), rig.db.xlen(PLAN)) == (1, 10)
    code, out, _ = answer(capsys, "trim", "apply.plan", "--trading")
    assert "group order_proof is not there" in out or "is not there" in out
    rig.die()
