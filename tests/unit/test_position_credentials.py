"""Where credentials may stand, and what is said when they do not."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil

import pytest

from producers import credentials
from producers.signed_exchange import base
from quantum_ops import knobs
from quantum_ops.errors import ConfigurationError
from quantum_ops.settings import PositionsSettings
from tests.contract.reference import ROOT

CANARY = "CANARY" + "k" * 58


def load(**environ: str):
    environ["QUANTUM_ENV_DIR"] = environ.get("QUANTUM_ENV_DIR", "/nonexistent")
    return credentials.load(knobs.load(PositionsSettings, environ))


@pytest.fixture
def file(tmp_path):
    def write(content: bytes, mode: int = 0o600, name: str = "credential") -> str:
        path = tmp_path / name
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    return write


def test_none_at_all_is_off():
    assert load() is None


def test_signature_is_the_one_of_the_exchange_s_own_example():
    # Binance's documentation, "SIGNED endpoint examples"
    made = load(
        BINANCE_API_KEY="dbefbc809e3e83c283a984c3a1459732ea7db1360ca80c5c2c8867408d28cc83",
        BINANCE_API_SECRET="2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9",
    )
    query = (
        "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC"
        "&recvWindow=5000&timestamp=1591702613943"
    )
    assert made.sign(query) == (
        f"{query}&signature=3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"
    )


def test_files_are_read_and_nothing_shows_what_stands_there(file):
    key = file(b"the-key\n", 0o640, "k")
    secret = file(f"  {CANARY}\n".encode(), 0o400, "s")
    made = load(BINANCE_API_KEY_FILE=key, BINANCE_API_SECRET_FILE=secret)
    assert (made.key, made.secret) == ("the-key", CANARY)
    assert "CANARY" not in repr(made)
    assert "the-key" not in repr(made)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"BINANCE_API_KEY": CANARY}, "BINANCE_API_SECRET: is missing"),
        ({"BINANCE_API_SECRET": CANARY}, "BINANCE_API_KEY: is missing"),
        ({"BINANCE_API_KEY": f"{CANARY} x", "BINANCE_API_SECRET": "s"}, "printable ASCII"),
        ({"BINANCE_API_KEY": "é" + CANARY, "BINANCE_API_SECRET": "s"}, "printable ASCII"),
        ({"BINANCE_API_KEY": CANARY * 9, "BINANCE_API_SECRET": "s"}, "at most 256"),
        ({"BINANCE_API_KEY": "k", "BINANCE_API_SECRET_FILE": "/nonexistent/x"}, "cannot be read"),
        ({"BINANCE_API_KEY": "k", "BINANCE_API_SECRET_FILE": "/dev/null"}, "no regular file"),
        ({"BINANCE_API_KEY": CANARY, "BINANCE_API_KEY_FILE": "/x"}, "both set"),
    ],
)
def test_half_or_wrong_credentials_are_refused_without_repeating_them(environ, told):
    with pytest.raises(ConfigurationError) as refused:
        load(**environ)
    assert told in str(refused.value)
    assert "CANARY" not in str(refused.value)


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o606, 0o602])
def test_file_that_others_may_use_is_refused_with_the_cure(mode, file):
    path = file(CANARY.encode(), mode)
    with pytest.raises(ConfigurationError, match=f"chmod o= {path}") as refused:
        load(BINANCE_API_KEY_FILE=path, BINANCE_API_SECRET="s")
    assert "CANARY" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"a\nb", b"\xff" * 9, b"x" * 5000, b"\0"])
def test_file_that_holds_no_credential_is_refused(content, file):
    with pytest.raises(ConfigurationError, match="BINANCE_API_KEY_FILE"):
        load(BINANCE_API_KEY_FILE=file(content), BINANCE_API_SECRET="s")


def test_named_pipe_holds_nobody_up(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="no regular file"):
        load(BINANCE_API_KEY_FILE=str(tmp_path / "pipe"), BINANCE_API_SECRET="s")


def test_env_files_that_disagree_on_a_secret_do_not_show_it(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.env").write_text(f"BINANCE_API_SECRET={CANARY}{name}\n")
    with pytest.raises(ConfigurationError, match="disagree") as refused:
        load(QUANTUM_ENV_DIR=str(tmp_path))
    assert "CANARY" not in str(refused.value)


def test_env_file_with_a_misspelt_secret_does_not_show_it(tmp_path):
    (tmp_path / "a.env").write_text(f"BINANCE_API_SECRET: {CANARY}\n")
    with pytest.raises(ConfigurationError, match=r"a\.env:1: .hidden. is no NAME=value") as refused:
        load(QUANTUM_ENV_DIR=str(tmp_path))
    assert "CANARY" not in str(refused.value)


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, "https://testnet.binancefuture.com"),
        ({"UNIVERSE_MODE": "mainnet"}, "https://fapi.binance.com"),
        ({"UNIVERSE_MODE": "mainnet", "POSITIONS_MODE": "testnet"},
         "https://testnet.binancefuture.com"),
        ({"POSITIONS_URL": "https://demo-fapi.binance.com/"}, "https://demo-fapi.binance.com"),
        ({"POSITIONS_URL": "http://127.0.0.1:9/x"}, "http://127.0.0.1:9/x"),
        ({"POSITIONS_URL": "http://[::1]:9"}, "http://[::1]:9"),
    ],
)  # fmt: skip
def test_address_follows_the_mode(environ, address):
    assert base(knobs.load(PositionsSettings, {"QUANTUM_ENV_DIR": "/x", **environ})) == address


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://fapi.binance.com", "in the clear"),
        ("ftp://x", "no http(s) address"),
        ("https://[", "no http(s) address"),
        ("https://fapi.binance.com/fapi/v2/positionRisk", "no base address"),
        ("https://x/?a=b", "no base address"),
        (f"https://u:{CANARY}@x", "no base address"),
    ],
)
def test_address_that_cannot_be_meant_is_refused(url, told):
    with pytest.raises(ConfigurationError) as refused:
        base(knobs.load(PositionsSettings, {"QUANTUM_ENV_DIR": "/x", "POSITIONS_URL": url}))
    assert told in str(refused.value)
    assert "CANARY" not in str(refused.value)


EXAMPLE = ROOT / "ops" / "env" / "positions.env.example"


def test_example_loads_as_it_stands_and_is_off(tmp_path):
    shutil.copy(EXAMPLE, tmp_path / "positions.env")
    settings = knobs.load(PositionsSettings, {"QUANTUM_ENV_DIR": str(tmp_path)})
    assert settings == PositionsSettings()
    assert credentials.load(settings) is None


def test_every_setting_stands_in_the_example_or_is_the_universe_s():
    text = EXAMPLE.read_text(encoding="utf-8")
    missing = [
        field.metadata["env"]
        for field in dataclasses.fields(PositionsSettings)
        if not re.search(rf"^#?{field.metadata['env']}=", text, re.MULTILINE)
    ]
    assert missing == ["UNIVERSE_MODE"]
