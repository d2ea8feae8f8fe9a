"""Passwords are made once, whoever makes them, and whatever was cut off in between."""

from __future__ import annotations

import fnmatch
import inspect
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from quantum_ops import client, streams
from quantum_ops.acl import catalogue, passwords, text
from quantum_ops.acl.passwords import path_of
from quantum_ops.errors import ConfigurationError
from quantum_ops.settings import RedisSettings

NAMES = ("p33", "admin")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_passwords_are_private_different_and_stay(tmp_path):
    folder = tmp_path / "acl"
    first = passwords.make(folder, NAMES)
    assert len(set(first.values())) == 2
    assert all(len(one) == 64 for one in first.values())
    assert mode(folder) == 0o700
    assert {mode(path_of(folder, name)) for name in NAMES} == {0o600}
    # made again, one more is asked for
    assert passwords.make(folder, (*NAMES, "warden")).items() > first.items()
    assert passwords.read(folder, "p33") == first["p33"]


@pytest.mark.parametrize("torn", [b"", b"\n", b"abc", b"\xff\xfe", b"0" * 63 + b"\n"])
def test_what_a_power_loss_left_is_made_anew_and_the_others_stay(tmp_path, torn):
    first = passwords.make(tmp_path, NAMES)
    path_of(tmp_path, "p33").write_bytes(torn)
    again = passwords.make(tmp_path, NAMES)
    assert again["admin"] == first["admin"]
    assert again["p33"] != first["p33"]
    assert passwords.read(tmp_path, "p33") == again["p33"]


@pytest.mark.parametrize("step", ["write", "fsync", "hardlink_to", "unlink"])
def test_killed_at_any_step_the_next_one_ends_it(tmp_path, monkeypatch, step):
    # given a maker that dies at this step
    class Killed(BaseException):
        pass

    def die(*_args, **_options):
        raise Killed

    real = passwords.os.fdopen
    if step == "write":
        monkeypatch.setattr(passwords.os, "fdopen", lambda fd, *_: os.close(fd) or die())
    elif step == "fsync":
        monkeypatch.setattr(passwords.os, "fsync", die)
    else:
        monkeypatch.setattr(passwords.Path, step, die)
    with pytest.raises(Killed):
        passwords.make(tmp_path, ["p33"])
    monkeypatch.undo()
    assert passwords.os.fdopen is real
    # then whoever comes next and whoever reads agree
    made = passwords.make(tmp_path, ["p33"])
    assert passwords.read(tmp_path, "p33") == made["p33"]
    assert passwords.make(tmp_path, ["p33"]) == made
    # and a draft that it left is cleared away once nobody can be at it any more
    for draft in tmp_path.glob(".*"):
        os.utime(draft, (1, 1))
    passwords.make(tmp_path, ["p33"])
    assert [path.name for path in tmp_path.iterdir()] == ["p33.password"]


def test_many_makers_at_once_end_with_the_same(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: passwords.make(tmp_path, NAMES), range(32)))
    assert all(one == made[0] for one in made)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["admin.password", "p33.password"]


def test_files_that_others_could_read_are_closed(tmp_path):
    made = passwords.make(tmp_path, ["p33"])
    path_of(tmp_path, "p33").chmod(0o644)
    tmp_path.chmod(0o755)
    assert passwords.make(tmp_path, ["p33"]) == made
    assert (mode(tmp_path), mode(path_of(tmp_path, "p33"))) == (0o700, 0o600)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "has no p33.password.*./run acl apply"),
        (b"", "holds no password"),
        (b"\xff", "cannot be read"),
        (b"a\nb", "holds no"),
    ],
)
def test_a_password_that_cannot_be_used_is_told_with_the_cure(tmp_path, content, told):
    if content is not None:
        path_of(tmp_path, "p33").write_bytes(content)
    with pytest.raises(ConfigurationError, match=told):
        client.connect(RedisSettings(acl_dir=str(tmp_path)), user="p33")


def test_a_client_connects_as_its_user_unless_the_settings_name_a_login(tmp_path):
    path_of(tmp_path, "p33").write_text("of the file\n")
    path_of(tmp_path, "operator").write_text("of the operator\n")

    def login(user="operator", **settings):
        settings = RedisSettings(acl_dir=str(tmp_path), **settings)
        options = client.connect(settings, user=user).connection_pool.connection_kwargs
        return options.get("username"), options.get("password")

    assert login("p33") == ("p33", "of the file")
    assert login("p33", url="unix:///s") == ("p33", "of the file")
    assert login(url="redis://h/1") == ("operator", "of the operator")
    assert login("p33", url="redis://u:pw@h/1") == ("u", "pw")
    assert login("p33", host="h", username="u", password="pw") == ("u", "pw")
    sentinels = client.connect(
        RedisSettings(url="sentinel://h:1/main", acl_dir=str(tmp_path)), user="p33"
    )
    assert sentinels.connection_pool.connection_kwargs["username"] == "p33"


def test_every_program_has_its_user_and_no_user_is_without_a_program():
    from tests.contract.reference import ROOT

    stanzas = {path.stem for path in (ROOT / "supervisor").glob("*.d/*.conf")}
    spares = {"p33_spare", "ledger_spare"}  # run as the program whose name they bear
    without = {"redis", "demo_exchange"}  # the server itself, and one that only speaks HTTP
    programs = {user.name for user in (*catalogue.PROGRAMS, catalogue.TRADING_SIDE)}
    assert programs == stanzas - spares - without


@pytest.mark.parametrize("generation", text.GENERATIONS)
def test_the_file_has_a_line_for_each_user_and_no_password(generation):
    names = [user.name for user in catalogue.users(demo=False)]
    logins = {name: text.login(f"secret of {name}") for name in names}
    lines = text.file(generation, logins, default=False).splitlines()
    assert [line.split()[1] for line in lines] == [*names, "default"]
    assert "demo_trading" not in names, "the live system has no stand-in"
    assert "secret" not in "".join(lines)
    assert lines[-1].startswith("user default off ")
    assert ("client|setinfo" in "".join(lines)) == (generation == "9")


@pytest.mark.parametrize(
    ("name", "version", "generation"),
    [
        ("redis", (7, 0, 15), "7.0"), ("redis", (7, 2, 0), "9"), ("redis", (8, 2, 3), "9"),
        ("valkey", (7, 2, 5), "9"), ("valkey", (9, 1, 2), "9"),
    ],
)  # fmt: skip
def test_generation_of_a_server(name, version, generation):
    assert text.generation(name, version) == generation


def test_every_key_of_the_catalogue_has_a_program_that_may_write_it():
    families = [
        made(*("x" for _ in inspect.signature(made).parameters))
        for made in vars(streams).values()
        if inspect.isfunction(made) and made.__annotations__.get("return") == "str"
    ]
    constants = [
        value
        for name, value in vars(streams).items()
        if name.isupper() and isinstance(value, str) and not value.endswith((":", "*"))
    ]
    # Written by the administrator (a restore, failover.sh), and held by P3.4, which is not ours.
    others = {
        streams.RESTORE, streams.refilled("x"), streams.FAILOVER, streams.reconcile_hold("x"),
    }  # fmt: skip
    wanted = {one for one in (*families, *constants) if one.startswith("quantum:")} - others
    users = (*catalogue.PROGRAMS, catalogue.TRADING_SIDE, catalogue.OPERATOR)
    patterns = [
        one for user in users for grant in user.grants for one in (*grant.both, *grant.write)
    ]
    own = {streams.heartbeat("x", "x"), streams.heartbeat_hosts("x"), streams.home("x")}
    general = {streams.checkpoint("x", "x"), streams.unreplicated("x"), streams.permit("x", "x"),
               streams.decided("x", "x"), streams.conflict("x", "x", "x")}  # fmt: skip
    missing = {
        key
        for key in wanted - own - general - {streams.governor_permit("x")}
        if not any(fnmatch.fnmatchcase(key, one) for one in patterns if one != streams.EVERYTHING)
    }
    assert missing == set(), "say in quantum_ops/acl/catalogue.py who writes these"
