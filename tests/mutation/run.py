"""The only place that runs mutants: one process with all tests loaded, one fork for each mutant.

A fork swaps the mutant in, runs the tests that execute its line, the quickest first, and ends with
the first that fails twice. What it costs is what those tests cost.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.mutation.operators import Mutant, mutants
from tests.mutation.swap import swap
from tests.mutation.targets import DEPENDS, PARTS, WITH_SERVER

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 25
"""Simulated worlds for each mutant that nothing else notices."""
EXAMPLES = 25
"""Examples of a property for each mutant; one that fails is not made smaller."""
VARIANTS = 8
"""Cases of one test with many parameters that are run for each mutant."""
SPARE_CPU_S, SPARE_S = 5.0, 25.0
"""What a test may take beyond ten times what it takes without a mutant: then it never ends.

Of the latter all but what it waited for a processor: a busy machine kills no mutant.
"""
PATIENCE_LEFT_S = 0.1
"""Queued for less than that, it had its time."""
MEMORY_BYTES = 4 << 30
Chosen = Callable[[int, Mutant], bool]
KILLED, SURVIVED, UNCOVERED = "killed", "survived", "uncovered"


@dataclass
class Found:
    """What became of the mutants of one module; ``survivors`` are (line, text, change, why).

    ``endless`` of those that were killed were so because a test did not end.
    """

    module: str
    counts: dict[str, int] = field(default_factory=dict)
    survivors: list[tuple[int, str, str, str]] = field(default_factory=list)
    endless: int = 0
    took_s: float = 0.0

    def note(self, mutant: Mutant, ending: str) -> None:
        """Count one."""
        self.counts[ending] = self.counts.get(ending, 0) + 1
        if ending in (SURVIVED, UNCOVERED):
            self.survivors.append((mutant.line, mutant.text, mutant.change, ending))


def source(module: str) -> Path:
    """The file of a module."""
    return ROOT / f"{module.replace('.', '/')}.py"


class Loop:
    """A pytest plugin that runs mutants in the place of tests.

    ``chosen(number, mutant)`` says which mutants are run, ``jobs`` at a time.
    """

    def __init__(self, modules: list[str], chosen: Chosen, jobs: int) -> None:
        self._modules = modules
        self._chosen = chosen
        self._jobs = jobs
        self.found: list[Found] = []
        self.broken = ""

    @pytest.hookimpl
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Leave out what needs a server."""
        items[:] = [one for one in items if not any(word in one.name for word in WITH_SERVER)
                    and not {"server", "valkey", "db"} & set(one.fixturenames)]  # fmt: skip

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the mutants."""
        _brief(session.items)
        traced = {*self._modules, *(DEPENDS.get(name, name) for name in self._modules)}
        files = {str(source(name)): name for name in traced}
        whole = _Child(session, None).baseline(files)
        if whole is None or whole["failed"]:
            self.broken = f"the tests fail without any mutant: {whole and whole['failed']}"
            return True
        for module in self._modules:
            self.found.append(self._module(session, module, whole))
        return True

    def _module(self, session: pytest.Session, module: str, whole: dict[str, Any]) -> Found:
        found = Found(module)
        began = time.monotonic()
        lines = whole["lines"].get(DEPENDS.get(module, module), {})
        only = PARTS.get(module)
        took = whole["took_s"]
        text = source(module).read_text(encoding="utf-8")
        running: list[tuple[Mutant, _Child]] = []
        for number, mutant in enumerate(mutants(module, text)):
            if not self._chosen(number, mutant) or (only and _part(mutant) not in only):
                continue
            if module in DEPENDS:
                tests = sorted({at for some in lines.values() for at in some})
            else:
                tests = lines.get(str(mutant.line)) or _around(lines, mutant)
            if not tests:
                found.note(mutant, UNCOVERED)
                continue
            child = _Child(session, mutant)
            child.begin(sorted(_few(session.items, tests), key=lambda at: took[at]), took)
            running.append((mutant, child))
            while len(running) >= self._jobs:
                _reap(found, running)
        while running:
            _reap(found, running)
        found.took_s = round(time.monotonic() - began, 1)
        print(module, found.counts, f"{found.took_s} s", flush=True)
        return found


def _reap(found: Found, running: list[tuple[Mutant, _Child]]) -> None:
    """Note those that have ended; wait a little if none has."""
    ended = [(mutant, child, child.ending()) for mutant, child in running]
    for mutant, child, ending in ended:
        if ending:
            running.remove((mutant, child))
            found.note(mutant, ending)
            found.endless += child.endless
            if ending == SURVIVED:
                print(f"{mutant.key} line {mutant.line}", flush=True)
    if not any(ending for _, _, ending in ended):
        time.sleep(0.005)


def _few(items: list[Any], tests: list[int]) -> list[int]:
    """``tests``, but at most VARIANTS of those that differ in their parameters only."""
    by_name: dict[str, list[int]] = {}
    for at in tests:
        by_name.setdefault(items[at].nodeid.split("[")[0], []).append(at)
    return [at for same in by_name.values() for at in same[:: -(-len(same) // VARIANTS)]]


def _brief(items: list[Any]) -> None:
    """Let properties and simulated worlds say what they can say in short time."""
    # Late: pytest has to be the first that imports it.
    import hypothesis

    told = {
        "derandomize": True, "database": None,
        "phases": (hypothesis.Phase.explicit, hypothesis.Phase.generate),
    }  # fmt: skip
    for item in items:
        if hasattr(item.module, "SEEDS"):
            item.module.SEEDS = SEEDS
        own = getattr(item.obj, "_hypothesis_internal_use_settings", None)
        if own is not None:
            few = min(EXAMPLES, own.max_examples)
            brief = hypothesis.settings(own, max_examples=few, **told)
            getattr(item.obj, "__func__", item.obj)._hypothesis_internal_use_settings = brief
    hypothesis.settings.register_profile(
        "mutation", parent=hypothesis.settings.default, max_examples=EXAMPLES, **told
    )
    hypothesis.settings.load_profile("mutation")


def _holds(node: ast.stmt, line: int) -> bool:
    return node.lineno <= line <= (node.end_lineno or 0)


def _part(mutant: Mutant) -> str:
    """The name that the mutated line gives a value, at the top of the module."""
    for node in mutant.tree.body:
        if isinstance(node, ast.Assign) and _holds(node, mutant.line):
            return ast.unparse(node.targets[0])
    return ""


def _around(lines: dict[str, list[int]], mutant: Mutant) -> list[int]:
    """Tests of the statement that the line belongs to; of the whole module for its constants."""
    statements = [
        node
        for node in ast.walk(mutant.tree)
        if isinstance(node, ast.stmt) and _holds(node, mutant.line)
    ]
    plain = [node for node in statements if not isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    if plain:
        best = max(plain, key=lambda node: node.lineno)
        inside = range(best.lineno, (best.end_lineno or best.lineno) + 1)
        found = {at for line in inside for at in lines.get(str(line), ())}
        if found:
            return sorted(found)
    functions = [node for node in statements if isinstance(node, ast.FunctionDef)]
    if any(node.body[0].lineno <= mutant.line for node in functions):
        return []
    return sorted({at for some in lines.values() for at in some})


class _Child:
    """A fork that has something to say to us through a pipe."""

    def __init__(self, session: pytest.Session, mutant: Mutant | None) -> None:
        self._session = session
        self._mutant = mutant
        self._pid = 0
        self.endless = False

    def baseline(self, files: dict[str, str]) -> dict[str, Any] | None:
        """Which tests execute which lines, and how long each takes."""
        read, write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _quiet()
            os.close(read)
            told = json.dumps(_traced(self._session, files)).encode()
            with os.fdopen(write, "wb") as pipe:
                pipe.write(told)
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            told = pipe.read()
        os.waitpid(self._pid, 0)
        return json.loads(told) if told else None

    def begin(self, tests: list[int], took: list[tuple[float, float]]) -> None:
        """Fork, and let it run ``tests``, which take ``took`` (processor, all) without a mutant."""
        self._pid = os.fork()
        if self._pid == 0:
            # What its tests start ends with it.
            os.setpgid(0, 0)
            _quiet()
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            os._exit(self._mutated(tests, took))

    def ending(self) -> str:
        """``killed`` if a test failed or did not end, or it did not load; empty: it runs."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if not pid:
            return ""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(status)
        self.endless = -code in (signal.SIGPROF, signal.SIGALRM)
        return KILLED if code else SURVIVED

    def _mutated(self, tests: list[int], took: list[tuple[float, float]]) -> int:
        assert self._mutant is not None
        try:
            swap(self._mutant.module, self._mutant.tree)
        except BaseException:  # noqa: BLE001 - it does not even load
            return 1
        items = self._session.items
        for at in tests:
            cpu_s, all_s = took[at]
            for _ in range(2):
                # Nobody handles this signal, so it ends the process.
                signal.setitimer(signal.ITIMER_PROF, SPARE_CPU_S + 10 * cpu_s)
                patience(SPARE_S + 10 * all_s)
                self._session.testsfailed = 0
                items[at].ihook.pytest_runtest_protocol(item=items[at], nextitem=None)
                if not self._session.testsfailed:
                    break
            else:
                # Twice: what fails once, by chance on a busy machine, has noticed nothing.
                return 1
        return 0


def patience(seconds: float) -> None:
    """End this process with SIGALRM in ``seconds``, and in as many more as it has to queue."""
    queued_s = _queued_s()

    def over(number: int, _frame: Any) -> None:
        nonlocal queued_s
        before_s, queued_s = queued_s, _queued_s()
        if queued_s - before_s > PATIENCE_LEFT_S:
            signal.setitimer(signal.ITIMER_REAL, queued_s - before_s)
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _queued_s() -> float:
    """Seconds for which threads of this process were ready, and had no processor."""
    waited_ns = 0
    for one in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, IndexError):
            waited_ns += int(one.read_text(encoding="ascii").split()[1])
    return waited_ns / 1e9


def _traced(session: pytest.Session, files: dict[str, str]) -> dict[str, Any]:
    seen: set[tuple[str, int]] = set()

    def lines(frame: Any, event: str, _arg: Any) -> Any:
        if event == "line":
            seen.add((frame.f_code.co_filename, frame.f_lineno))
        return lines

    def calls(frame: Any, _event: str, _arg: Any) -> Any:
        return lines if frame.f_code.co_filename in files else None

    covered: dict[str, dict[str, list[int]]] = {name: {} for name in files.values()}
    took_s, failed = [], []
    for at, item in enumerate(session.items):
        seen.clear()
        _forget(files)
        before = session.testsfailed
        began = time.process_time(), time.monotonic()
        sys.settrace(calls)
        try:
            item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
        finally:
            sys.settrace(None)
        took_s.append((time.process_time() - began[0], time.monotonic() - began[1]))
        if session.testsfailed > before:
            failed.append(item.nodeid)
        for name, line in seen:
            covered[files[name]].setdefault(str(line), []).append(at)
    return {"lines": covered, "took_s": took_s, "failed": failed}


def _forget(files: dict[str, str]) -> None:
    """Empty the caches of the modules: a cached answer would hide whose lines it came from."""
    for name in files.values():
        for value in vars(sys.modules[name]).values() if name in sys.modules else ():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def _quiet() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)


def run(modules: list[str], suites: tuple[str, ...], chosen: Chosen, jobs: int = 1) -> Loop:
    """Run the mutants of ``modules`` against ``suites``, ``jobs`` at a time."""
    loop = Loop(modules, chosen, jobs)
    there = [one for one in suites if (ROOT / one.split("::")[0]).exists()]
    # Without what prints, and so without the options of pyproject.toml that speak of it.
    addopts = "addopts=-p no:valkey --strict-markers --import-mode=importlib"
    options = ("-o", addopts, "-o", "timeout=0")
    without = ("-p", "no:terminal", "-p", "no:xdist", "-p", "no:cacheprovider")
    code = pytest.main([*options, *without, *there], plugins=[loop])
    if not loop.found and not loop.broken:
        loop.broken = f"the tests were not loaded: exit code {code}"
    return loop
