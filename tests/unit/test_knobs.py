"""Settings from the environment and from *.env files, and what is said when they are wrong."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_ops import knobs
from quantum_ops.errors import ConfigurationError
from quantum_ops.knobs import decimal, flag, knob, one_of, text, whole
from quantum_ops.settings import SECTIONS, RedisSettings, UniverseSettings


@dataclass(frozen=True)
class Sample:
    mode: str = knob("T_MODE", one_of("testnet", "mainnet"), "testnet", "Mode.")
    count: int = knob("T_COUNT", whole(1, 10, "pieces"), 3, "Pieces.")
    share: float = knob("T_SHARE", decimal(0, 1), 0.5, "Share.")
    on: bool = knob("T_ON", flag, True, "Switch.")
    password: str = knob("T_PASSWORD", text, "", "Password.", secret=True)


def load(tmp_path, files=None, **environ):
    for name, content in (files or {}).items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    return knobs.load(Sample, {"QUANTUM_ENV_DIR": str(tmp_path), **environ})


def problems(tmp_path, files=None, **environ):
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, files, **environ)
    return caught.value.lines


def test_defaults_without_any_setting(tmp_path):
    assert load(tmp_path) == Sample("testnet", 3, 0.5, True, "")


def test_environment_wins_over_files_and_files_over_defaults(tmp_path):
    found = load(tmp_path, {"a.env": "T_MODE=mainnet\nT_COUNT=9\n"}, T_COUNT="2")
    assert (found.mode, found.count) == ("mainnet", 2)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("T_PASSWORD=plain", "plain"),
        ("T_PASSWORD='a # b'", "a # b"),
        ('T_PASSWORD="a b"', "a b"),
        ("export T_PASSWORD=x   # note", "x"),
        ("T_PASSWORD=a#b", "a#b"),
        ("T_PASSWORD = spaced ", "spaced"),
        ("T_PASSWORD=", ""),
        ("T_PASSWORD=a=b", "a=b"),
    ],
)
def test_lines_are_read_as_systemd_and_a_shell_read_them(tmp_path, line, value):
    assert load(tmp_path, {"a.env": f"# comment\n\n{line}\n"}).password == value


def test_every_problem_is_told_at_once_with_value_place_and_cure(tmp_path):
    lines = problems(
        tmp_path, {"a.env": "T_COUNT=eleven\nT_SHARE=nan\nwhat is this\n"}, T_MODE="Mainnet"
    )
    assert len(lines) == 4
    told = "\n".join(lines)
    assert "T_MODE='Mainnet' (environment): write one of testnet, mainnet" in told
    assert "did you mean mainnet?" in told
    assert (
        f"T_COUNT='eleven' ({tmp_path}/a.env:1): not a whole number; write 1 to 10 pieces" in told
    )
    assert "T_SHARE='nan'" in told
    assert "a.env:3: (hidden) is no NAME=value line" in told


def test_out_of_range_and_no_boolean(tmp_path):
    assert "out of range; write 1 to 10" in problems(tmp_path, T_COUNT="11")[0]
    assert "write true or false" in problems(tmp_path, T_ON="maybe")[0]


def test_files_that_disagree_are_a_fault_and_files_that_agree_are_not(tmp_path):
    [line] = problems(tmp_path, {"a.env": "T_COUNT=1\n", "b.env": "T_COUNT=2\n"})
    assert "a.env:1" in line
    assert "b.env:1" in line
    assert "disagree" in line
    assert load(tmp_path, {"a.env": "T_COUNT=2\n", "b.env": "T_COUNT=2\n"}).count == 2
    # The environment settles it
    assert load(tmp_path, {"a.env": "T_COUNT=1\n", "b.env": "T_COUNT=2\n"}, T_COUNT="3").count == 3


def test_unreadable_file_is_told_not_skipped(tmp_path):
    (tmp_path / "a.env").write_bytes(b"T_PASSWORD=\xff\n")
    assert "cannot be read" in problems(tmp_path)[0]


def test_secrets_are_in_no_repr_and_no_error(tmp_path):
    assert "hunter2" not in repr(load(tmp_path, T_PASSWORD="hunter2"))
    assert "hunter2" not in repr(RedisSettings(url="redis://:hunter2@h/0", password="hunter2"))

    @dataclass(frozen=True)
    class Strict:
        pin: int = knob("T_PIN", whole(0, 9), 0, "Pin.", secret=True)

    with pytest.raises(ConfigurationError) as caught:
        knobs.load(Strict, {"T_PIN": "hunter2", "QUANTUM_ENV_DIR": str(tmp_path)})
    assert "hunter2" not in str(caught.value)


def test_all_real_sections_load_with_their_defaults(tmp_path):
    for section in SECTIONS:
        assert knobs.load(section, {"QUANTUM_ENV_DIR": str(tmp_path)}) == section()


def test_bad_regex_is_told(tmp_path):
    environ = {"QUANTUM_ENV_DIR": str(tmp_path), "UNIVERSE_SYMBOL_REGEX": "["}
    with pytest.raises(ConfigurationError, match="regular expression"):
        knobs.load(UniverseSettings, environ)


@given(st.dictionaries(st.sampled_from(["T_MODE", "T_COUNT", "T_SHARE", "T_ON"]), st.text()))
def test_any_text_gives_a_sound_section_or_a_configuration_error(environ):
    try:
        found = knobs.load(Sample, {**environ, "QUANTUM_ENV_DIR": "/nonexistent"})
    except ConfigurationError as error:
        assert error.lines
        return
    assert found.mode in ("testnet", "mainnet")
    assert 1 <= found.count <= 10
    assert 0 <= found.share <= 1
