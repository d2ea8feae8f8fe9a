"""The only place of the settings of the universe's producer and its auditor."""

from __future__ import annotations

import re
from dataclasses import dataclass

from quantum_ops.knobs import decimal, flag, knob, one_of, regex, text, whole

SYMBOL_REGEX = re.compile(r"^[A-Z0-9]{3,20}USDT$")
"""What may be called a symbol, in the owner's words."""


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
    churn_max_pct: float = knob(
        "UNIVERSE_AUDIT_CHURN_MAX",
        decimal(0, 100, "percent"),
        5.0,
        "Symbols that come, go or become close_only in a day, in percent of the list, above which "
        "the day's report is a warning. Real churn is 0 to 3 symbols a day.",
    )
    reader_grace_s: float = knob(
        "UNIVERSE_AUDIT_READER_GRACE_SEC",
        decimal(1, 3600, "s"),
        10.0,
        "Seconds for which a P3.3 process may use another universe than the published one; "
        "six times as long is critical.",
    )
    fetch: bool = knob(
        "UNIVERSE_AUDIT_FETCH",
        flag,
        False,  # noqa: FBT003 - the default of a setting
        "The same setting as universe_check's: with it, silence of that program is told.",
    )
    fetch_every_s: float = knob(
        "UNIVERSE_AUDIT_FETCH_SEC",
        decimal(0.5, 86_400, "s"),
        300.0,
        "The same setting as universe_check's.",
    )


@dataclass(frozen=True, slots=True)
class UniverseCheckSettings:
    """The second, independent fetch that the universe is compared with."""

    enabled: bool = knob(
        "UNIVERSE_AUDIT_FETCH",
        flag,
        False,  # noqa: FBT003 - the default of a setting
        "Whether the exchange is asked a second time, independently of the producer.",
    )
    every_s: float = knob(
        "UNIVERSE_AUDIT_FETCH_SEC",
        decimal(0.5, 86_400, "s"),
        300.0,
        "Seconds between two such fetches, give or take a fifth; a difference is believed when two "
        "of them show it.",
    )
