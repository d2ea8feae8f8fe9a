"""Verbs on named programs where something is in the way: they do what matters, and say the rest."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ops import holding, naming, single, start, system
from ops.daemon import HungError
from ops.output import Format
from ops.paths import Paths
from ops.telling import Teller
from ops.warden import holds
from tests.unit.test_warden_rules import process


@pytest.fixture
def world(monkeypatch, tmp_path):
    """A system of one gate with a spare, and a supervisord that notes what it is asked."""
    paths = Paths.find(environ={"QUANTUM_HOME": str(tmp_path)})
    paths.create()
    asked: list[str] = []
    spare = process("STOPPED", pid=0, name="p33-01", group="p33_spare", autostart=False)
    daemon = SimpleNamespace(
        processes=lambda: [process(), spare],
        stop=lambda one: asked.append(f"stop {one.name}"),
        wait_stopped=lambda *_: [],
    )
    monkeypatch.setattr(system, "find", lambda: (paths, None))
    monkeypatch.setattr(system, "daemon", lambda _: daemon)
    return SimpleNamespace(paths=paths, asked=asked, daemon=daemon)


def tell(form: str = "text") -> Teller:
    return Teller(Format(form, {}))


def test_a_stop_holds_the_program_and_leaves_spares_alone(world, capsys):
    assert single.stop_named(["consumers:*"], tell("json")) == 0
    assert world.asked == ["stop p33-00"]
    assert holds.read(world.paths)["p33"].until_started
    assert capsys.readouterr().out == '{"name": "p33-00", "did": "stopped", "detail": ""}\n'


@pytest.mark.parametrize("harm", ["unreadable", "full"])
def test_nothing_about_the_hold_list_keeps_anybody_from_stopping_a_gate(
    world, capsys, monkeypatch, harm
):
    # given a hold list that cannot be read, or a disk that takes nothing
    if harm == "unreadable":
        world.paths.warden.mkdir(parents=True)
        (world.paths.warden / holds.FILE).write_text("{")
    else:
        full = OSError(28, "No space left on device")
        monkeypatch.setattr(holds, "_change", lambda *_: (_ for _ in ()).throw(full))
    # then the gate is stopped all the same, and it is said that it is not held
    assert single.stop_named(["p33"], tell()) == 0
    assert world.asked == ["stop p33-00"]
    assert "not put on hold" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (naming.UnknownNameError("no program"), 4),
        (HungError("hangs"), 1),
        (start.StartError("busy"), 1),
        (OSError(28, "No space left on device"), 1),
    ],
)
def test_every_expected_error_is_a_line_and_a_code(capsys, error, code):
    def work() -> int:
        raise error

    assert single.guarded(work, tell()) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_holds_are_taken_from_names_and_released_even_when_the_program_is_gone(world, capsys):
    assert holding.hold(["p33"], "repair", tell()) == 0
    holds.add(world.paths, ["retired"], single.made("long ago"))
    assert holding.hold([], "", tell()) == 0
    shown = capsys.readouterr().out
    assert "p33: held since" in shown
    assert "retired: held since" in shown
    assert holding.release(["retired", "p33"], tell()) == 0
    assert holding.hold([], "", tell()) == 0
    assert "nothing is on hold" in capsys.readouterr().out
    with pytest.raises(naming.UnknownNameError):
        holding.hold(["p34"], "", tell())


def test_names_are_judged_by_their_stanzas_when_nothing_runs(world):
    assert naming.declared(world.paths, ["p33", "p33-01", "redis"]) == ["p33", "p33-01", "redis"]
    with pytest.raises(naming.UnknownNameError, match="there are: archive"):
        naming.declared(world.paths, ["p34"])
