"""The only place where supervisorctl learns our verbs and roles: aliases, nothing of their own.

supervisorctl makes it by ``[ctlplugin:quantum]`` (``supervisor.ctl_factory=ops.ctl_plugin:make``).
It is not derived from supervisor's own base class: our folder of that name is in the way of
importing it here, and a plugin is found by the names of its methods only.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ops import naming, scale_plan
from ops.__main__ import names, summary
from ops.daemon import AbsentError, Daemon, HungError, Process, RefusedByDaemonError
from ops.paths import ROOT, Paths
from quantum_ops import streams

VERBS = ("lag", "tail", "dlq", "hold", "release")
ROLES = ("consumers", "producers")
_ADDRESSED = frozenset({"status", "start", "stop", "restart", "signal", "pid", "clear"})
"""supervisorctl's own actions that take names of processes."""


def make(controller: Any, **_settings: str) -> Plugin:
    """The plugin of ``controller``, which also reaches the system that ``./run`` would."""
    _find_home(os.environ, Path(sys.prefix))
    options = controller.options
    if options.serverurl == f"unix://{ROOT / 'var' / 'run' / 'supervisor.sock'}":
        # The place that the file in the checkout names; QUANTUM_HOME may have moved it.
        options.serverurl = f"unix://{Paths.find().supervisor_socket}"
    plugin = Plugin(controller)
    controller.onecmd = plugin.wrapped(controller.onecmd)
    return plugin


class Plugin:
    """``lag``, ``tail``, ``dlq``, ``hold``, ``release``; ``consumers:*`` and ``producers:*``."""

    name = "quantum"
    doc_header = "quantum commands (type help <topic>):"

    def __init__(self, controller: Any) -> None:
        self.ctl = controller
        for verb in VERBS:
            # ``tail`` is supervisorctl's own word for logs; wrapped() tells which one is meant.
            if verb != "tail":
                setattr(self, f"do_{verb}", self._alias(verb))
                setattr(self, f"help_{verb}", self._help(verb))

    def do_help(self, topic: str) -> None:
        """List the verbs; a single topic is answered by its own ``help_`` method."""
        if not topic:
            self.ctl.output(f"\n{self.doc_header}\n{'=' * len(self.doc_header)}")
            self.ctl.output("  ".join(VERBS) + "\n")
        elif topic in VERBS:
            getattr(self, f"help_{topic}", lambda: None)()

    def wrapped(self, onecmd: Callable[[str], Any]) -> Callable[[str], Any]:
        """``onecmd`` that knows our roles in place of names, and streams as what to tail."""

        def run(line: str) -> Any:
            action, _, rest = line.strip().partition(" ")
            if action == "tail" and _names_streams(rest.split()):
                return self._alias("tail")(rest)
            if action in _ADDRESSED and any(_role(word) for word in rest.split()):
                found = self._expanded(action, rest.split())
                return None if found is None else onecmd(" ".join([action, *found]))
            return onecmd(line)

        return run

    def _alias(self, verb: str) -> Callable[[str], None]:
        def run(rest: str) -> None:
            # supervisorctl joins its words with blanks, and so loses what was quoted.
            options = self.ctl.options
            argv = shlex.split(rest) if options.interactive else list(options.args[1:])
            environ = {**os.environ, "QUANTUM_CALLED_FROM": str(Path.cwd())}
            done = subprocess.run(
                [sys.executable, "-m", "ops", verb, *argv], cwd=ROOT, env=environ, check=False
            )
            self.ctl.exitstatus = done.returncode

        return run

    def _help(self, verb: str) -> Callable[[], None]:
        def show() -> None:
            what = summary(verb) if verb in names() else "not in this version"
            self.ctl.output(f"{verb}\t\t./run {verb}: {what}")

        return show

    def _expanded(self, action: str, words: list[str]) -> list[str] | None:
        path = Path(self.ctl.options.serverurl.removeprefix("unix://"))
        try:
            processes = Daemon(path).processes()
        except (AbsentError, HungError, RefusedByDaemonError) as error:
            self.ctl.output(str(error))
            self.ctl.exitstatus = 4
            return None
        wanted = scale_plan.read(Paths.find())
        return expand(action, words, processes, wanted)


def expand(
    action: str, words: list[str], processes: list[Process], wanted: Mapping[str, int]
) -> list[str]:
    """``words`` with each role as the addresses of its processes.

    ``start``, ``stop`` and ``restart`` leave out the spares that nobody asked for.
    """
    found: list[str] = []
    for word in words:
        role = _role(word)
        if not role:
            found.append(word)
        elif action in {"start", "restart", "stop"}:
            found += [p.address for p in naming.meant(processes, [role], wanted)]
        else:
            found += [p.address for p in processes if p.role == role]
    return found


def _role(word: str) -> str:
    head, colon, tail = word.partition(":")
    return head if head in ROLES and colon and tail in {"", "*"} else ""


def _names_streams(words: list[str]) -> bool:
    """Whether ``tail`` with ``words`` means streams: every name among them is one of a stream."""
    plain = [word for word in words if not (word.startswith("-") or word.isdigit() or "=" in word)]
    known = {name for stream in streams.CATALOGUE for name in (stream.name, stream.key)}
    return all(word in known for word in plain)


def _find_home(environ: Any, prefix: Path) -> None:
    """The interpreter of ``QUANTUM_HOME/venv`` tells which home is meant, if nobody else does."""
    if not environ.get("QUANTUM_HOME") and (prefix / "quantum.stamp").exists():
        environ["QUANTUM_HOME"] = str(prefix.parent)
