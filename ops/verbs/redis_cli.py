"""Open the right server: redis-cli where there is one, else a small client of our own."""

from __future__ import annotations

import os
import shutil
import sys
import urllib.parse

raw = True


def run_raw(argv: list[str]) -> int:
    """Exit code of the client; never returns where redis-cli takes over."""
    from ops.target import open_db, settings
    from quantum_ops.client import url_of

    url = urllib.parse.urlsplit(url_of(settings()))
    program = shutil.which("redis-cli") or shutil.which("valkey-cli")
    # Through Sentinel only our client finds the master.
    builtin = os.environ.get("QUANTUM_REDIS_CLI") == "builtin" or url.scheme == "sentinel"
    if program and not builtin:
        if url.password:
            # In the environment and not as an argument: `ps` shows arguments to everybody.
            os.environ["REDISCLI_AUTH"] = urllib.parse.unquote(url.password)
        os.execv(program, [program, *arguments(url), *argv])  # noqa: S606 - no shell is wanted
    from ops import redis_cli

    try:
        options = redis_cli.parse(argv)
    except redis_cli.UsageError as error:
        print(f"{error}\n{redis_cli.USAGE}", file=sys.stderr)
        return 0 if argv[:1] == ["--help"] else 1
    return redis_cli.run(
        open_db(), options, sys.stdin.buffer, sys.stdout.buffer, tty=sys.stdout.isatty()
    )


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
