"""The users of Redis: who may do what; the ACL file of a server, its check, its renewal."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DIFFERS = 3


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("list", help="every user and what it is for (the default)")
    show = actions.add_parser("show", help="print the ACL file to install on a server of your own")
    show.add_argument(
        "--server", choices=("7.0", "9"), default="9",
        help="7.0: redis 7.0; 9: redis 7.2 and newer, every valkey (default)",
    )  # fmt: skip
    show.add_argument(
        "--default", choices=("off", "spec"), default="off",
        help="what whoever names no user may do: nothing (default), or what the specification's "
        "redis-cli commands do",
    )  # fmt: skip
    actions.add_parser("check", help="compare the server's users with the catalogue; exit code 3")
    actions.add_parser("apply", help="make passwords and ACL file anew and have our server read it")
    parser.epilog = (
        "The passwords lie in QUANTUM_ACL_DIR, for our own server in var/acl. docs/acl.md tells "
        "how a server of your own gets its users."
    )


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 as it should be, 3 a server's users differ (check), 78 settings."""
    if args.action == "show":
        return _show(args)
    if args.action == "check":
        return _check()
    if args.action == "apply":
        return _apply()
    from quantum_ops.acl import catalogue

    for user in (*catalogue.users(demo=True), catalogue.DEFAULT):
        print(f"{user.name:<16} {user.doc}")
    return 0


def _folder() -> Path:
    """Where the passwords lie: QUANTUM_ACL_DIR, else those of our own server."""
    from pathlib import Path

    from ops.paths import Paths
    from ops.target import settings

    named = settings().acl_dir
    return Path(named) if named else Paths.find().acl


def _show(args: argparse.Namespace) -> int:
    from quantum_ops.acl import catalogue, passwords, text

    folder = _folder()
    names = [user.name for user in catalogue.users(demo=False)]
    logins = {name: text.login(one) for name, one in passwords.make(folder, names).items()}
    try:
        print(text.file(args.server, logins, default=args.default == "spec"), end="")
    except ValueError as error:
        print(f"--default spec: {error}; take off (docs/acl.md)", file=sys.stderr)
        return 2
    if args.default == "spec":
        print(
            "for valkey 9.1.2 and newer only: others drop what the default user may not do when "
            "they start, and with it your data (docs/acl.md)",
            file=sys.stderr,
        )
    print(
        f"the passwords lie in {folder}; programs find them by QUANTUM_ACL_DIR={folder}",
        file=sys.stderr,
    )
    return 0


def _check() -> int:
    from ops import acl_check
    from ops.target import open_db
    from ops.terminal import safe
    from quantum_ops import client
    from quantum_ops.acl import catalogue, passwords, text
    from quantum_ops.errors import ConfigurationError

    db, folder, differs = open_db("admin"), _folder(), False
    of = acl_check.generation(db)
    with_demo = client.raw(db, "ACL", "GETUSER", catalogue.TRADING_SIDE.name) is not None
    for user in catalogue.users(demo=with_demo and _is_demo()):
        try:
            login = text.login(passwords.read(folder, user.name))[1:]
        except ConfigurationError:
            login = ""
        for told in acl_check.differences(db, user, of, login):
            print(f"{user.name}: {safe(told, 400)}")
            differs = True
    for told in acl_check.of_default(db):
        print(f"default: {told}")
        differs = True
    if with_demo and not _is_demo():
        print(f"{catalogue.TRADING_SIDE.name}: is there, and this is no demo")
        differs = True
    print(
        "the users differ; docs/acl.md tells the cure"
        if differs
        else "every user is as it should be"
    )
    return DIFFERS if differs else 0


def _apply() -> int:
    import redis

    from ops import acl_files, running, start, system
    from ops.paths import Paths
    from ops.server_binary import Flavour
    from quantum_ops import client, knobs
    from quantum_ops.errors import ConfigurationError
    from quantum_ops.settings import ServerSettings

    current = running.read(Paths.find().current_env)
    if current is None or not current.owned:
        raise ConfigurationError(
            "there is no server of ours running; ./run start makes users and passwords by itself, "
            "and ./run acl show prints what a server of your own needs"
        )
    paths = Paths.find(current.profile)
    with start.alone(paths):
        acl_files.prepare(paths)
        db = client.connect(current.redis(system.LOOK_S), name="acl", user="admin")
        try:
            info = db.execute_command("INFO", "server")
        except redis.RedisError as error:
            if not client.is_refusal(error):
                raise
            # Nobody else may tell it, but when it starts it reads what lies there.
            raise ConfigurationError(
                f"{paths.acl / 'admin.password'}: is not the one that the server has, so it cannot "
                "be told; it takes all users anew when it starts: ./run restart redis"
            ) from None
        name, _, version = system.flavour(info).partition(" ")
        major, minor, patch = (int(part) for part in version.split(".")[:3])
        flavour = Flavour(name, (major, minor, patch))
        wanted = knobs.load(ServerSettings).default_user
        default, why_not = acl_files.lets_nameless_in(flavour, wanted)
        if why_not:
            print(f"warning: {why_not}", file=sys.stderr)
        acl_files.write(paths, flavour, default=default)
        client.raw(db, "ACL", "LOAD")
    print(f"{name} {version} has read its users anew from {paths.acl / acl_files.FILE}")
    return 0


def _is_demo() -> bool:
    from ops import running
    from ops.paths import Paths

    current = running.read(Paths.find().current_env)
    return current is not None and current.owned and current.profile == "demo"
