"""Open the right server: redis-cli where there is one, else a small client of our own."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import urllib.parse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quantum_ops.settings import RedisSettings

raw = True

_SERVER = {"-h", "-p", "-s", "-u"}
_WITH_VALUE = _SERVER | {
    "-a", "-d", "-D", "-i", "-n", "-r", "-t", "-X", "--user", "--pass", "--pattern", "--sni",
    "--quoted-pattern", "--cacert", "--cacertdir", "--cert", "--key", "--tls-ciphers", "--rdb",
    "--tls-ciphersuites", "--functions-rdb", "--pipe-timeout", "--memkeys-samples", "--show-pushes",
}  # fmt: skip


def run_raw(argv: list[str]) -> int:
    """Exit code of the client; never returns where redis-cli takes over."""
    from ops.target import open_db, settings
    from quantum_ops.client import OPERATOR, login, url_of
    from quantum_ops.redis_url import is_sentinel

    found = settings()
    url = urllib.parse.urlsplit(url_of(found))
    elsewhere = names_server(argv)
    user, password = names_login(argv)
    program = shutil.which("redis-cli") or shutil.which("valkey-cli")
    # Through Sentinel only our client finds the master.
    builtin = os.environ.get("QUANTUM_REDIS_CLI") == "builtin" or is_sentinel(url.geturl())
    if program and not builtin:
        if url.password and not elsewhere:
            # In the environment and not as an argument: `ps` shows arguments to everybody.
            os.environ["REDISCLI_AUTH"] = urllib.parse.unquote(url.password)
        where = [] if elsewhere else [*arguments(url), *_files(url_of(found), found)]
        known = {} if elsewhere or password else login(found, user or OPERATOR)
        if known:
            os.environ["REDISCLI_AUTH"] = known["password"]
            where += ["--no-auth-warning", *([] if user else ["--user", known["username"]])]
        # Python ignores it, and what we become would go on writing for a reader that has left.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execv(program, [program, *where, *argv])  # noqa: S606 - no shell is wanted
    from ops import redis_cli

    try:
        options = redis_cli.parse(argv)
    except redis_cli.UsageError as error:
        print(f"{error}\n{redis_cli.USAGE}", file=sys.stderr)
        return 0 if argv[:1] == ["--help"] else 1
    db = open_db(options.user or OPERATOR)
    return redis_cli.run(
        db,
        options,
        sys.stdin.buffer,
        sys.stdout.buffer,
        tty=sys.stdout.isatty(),
    )


def _files(url: str, wanted: RedisSettings) -> list[str]:
    """The files of TLS as redis-cli takes them."""
    from quantum_ops.redis_url import tls_options

    names = {"ssl_ca_certs": "--cacert", "ssl_certfile": "--cert", "ssl_keyfile": "--key"}
    found = tls_options(url, wanted)
    return [word for name, flag in names.items() if name in found for word in (flag, found[name])]


def names_server(argv: list[str]) -> bool:
    """Whether the options in ``argv`` name a server of their own.

    Then ours must not be named too: redis-cli prefers ``-s`` to ``-p``, wherever they stand, and
    the command would run on another server than the one that was typed.
    """
    rest = iter(argv)
    for word in rest:
        if not word.startswith("-"):
            return False
        if word in _SERVER:
            return True
        if word in _WITH_VALUE:
            next(rest, None)
    return False


def names_login(argv: list[str]) -> tuple[str, bool]:
    """The user that the options in ``argv`` name, '' if none; whether they bring a password."""
    rest, user = iter(argv), ""
    for word in rest:
        if not word.startswith("-"):
            break
        if word in {"-a", "--pass", "--askpass"}:
            return user, True
        value = next(rest, "") if word in _WITH_VALUE else ""
        user = value if word == "--user" else user
    return user, False


def arguments(url: urllib.parse.SplitResult) -> list[str]:
    """What tells redis-cli where the server is."""
    query = urllib.parse.parse_qs(url.query)
    if url.scheme == "unix":
        where = ["-s", urllib.parse.unquote(url.path)]
        database = query.get("db", ["0"])[0]
    else:
        where = ["-h", url.hostname or "127.0.0.1", "-p", str(url.port or 6379)]
        database = url.path.strip("/") or "0"
        where += ["--tls"] if url.scheme == "rediss" else []
    if url.username:
        where += ["--user", urllib.parse.unquote(url.username), "--no-auth-warning"]
    return [*where, *(["-n", database] if database != "0" else [])]
