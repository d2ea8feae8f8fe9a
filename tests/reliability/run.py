"""The only place that runs scenarios, one at a time, and gives what each found."""

from __future__ import annotations

import functools
import importlib
import time
from datetime import UTC, datetime
from types import ModuleType

from tests.bench import machine
from tests.reliability.farm import Farm
from tests.reliability.native import NoCompilerError
from tests.reliability.result import Result
from tests.reliability.rig import Rig
from tests.reliability.scenarios.full_disk import NoMountError
from tests.servers import Server

CANNOT = (NoCompilerError, NoMountError)
"""Raised by scenarios that cannot be run on this machine, with what it lacks."""
NAMES = (
    "known_bad", "kills", "zombies", "server_kills", "power_loss", "wire", "wipes", "gate_struck",
    "full_memory", "full_disk", "no_descriptors", "clocks", "hostile",
)  # fmt: skip
"""Scenarios in the order of the page, each a module in tests/reliability/scenarios."""


def module(name: str) -> ModuleType:
    """The scenario: ``TITLE``, ``GOAL`` (faults in full), ``NOT_TESTED``, ``run(rig, result, n)``.

    It may have ``OPTIONS`` for its server, and ``server`` if that is a special one.
    """
    return importlib.import_module(f"tests.reliability.scenarios.{name}")


@functools.cache
def _commit() -> str:
    # As it was at first: the page that this very run writes would make it "dirty".
    return machine.facts()["Commit"]


def one(name: str, flavour: str, goal: int, seed: int, farm: Farm) -> Result:
    """Run a scenario with ``goal`` faults; what is broken stands in the result."""
    found = module(name)
    options = getattr(found, "OPTIONS", ())
    start = getattr(found, "server", Server)
    server = start(flavour, *options)
    rig = Rig(server, farm)
    result = Result(name, flavour, " ".join(options), seed, goal)
    about = rig.db.info("server")
    valkey = about.get("valkey_version")
    result.machine = {
        **machine.facts(),
        "Commit": _commit(),
        "Server": f"valkey {valkey}" if valkey else f"redis {about['redis_version']}",
    }
    result.at = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    began = time.monotonic()
    try:
        found.run(rig, result, goal)
        crashed = rig.crashes()
        result.expect(f"tracebacks in {crashed}", holds=not crashed)
    except AssertionError as error:
        # What never came is as broken as what came wrong, and the next scenario has its turn.
        result.broken.append(str(error))
    finally:
        rig.close()
        server.close()
    result.took_s = round(time.monotonic() - began, 1)
    return result
