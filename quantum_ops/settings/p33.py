"""The only place of the settings of P3.3, the position gate."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from quantum_ops.knobs import decimal, exact, flag, knob, one_of, text, whole, words
from quantum_ops.settings.universe import SYMBOL_REGEX


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
