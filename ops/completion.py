"""The only place that makes the shell completion of ./run, from the parsers of its verbs."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

_FILES = "\0files"
"""In a list of words: names of files fit here."""

_HEAD = """\
# Completion of ./run for {shell}, made by: ./run completion {shell}
_quantum_run() {{
    local verb=${{COMP_WORDS[1]}} cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}
    local action='' words='' files='' i
    if [ "$COMP_CWORD" -eq 1 ]; then
        words={verbs}
        [ "${{cur#-}}" = "$cur" ] || words=--help
        COMPREPLY=($(compgen -W "$words" -- "$cur"))
        return
    fi
    for ((i = 2; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in -*) ;; *) action=${{COMP_WORDS[i]}} && break ;; esac
    done
    case $verb in
"""
_TAIL = """\
    *) files=1 ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
    local IFS=$'\\n' # a name may hold blanks
    [ -z "$files" ] || COMPREPLY+=($(compgen -f -- "$cur"))
}}
complete -o filenames -o nosort -F _quantum_run ./run {path} 2>/dev/null ||
    complete -o filenames -F _quantum_run ./run {path}
"""
_ZSH = """\
autoload -U +X compinit && compinit
autoload -U +X bashcompinit && bashcompinit
"""
Known = Mapping[str, list[str]]
"""What fits where a metavar or name has this word; the first that does is taken."""


class _Spec(NamedTuple):
    """What one parser takes: its options, what follows each of them, what its words may be."""

    options: list[str]
    values: dict[str, list[str]]
    words: list[str]
    actions: dict[str, _Spec]


def script(
    shell: str,
    verbs: list[str],
    parser_of: Callable[[str], argparse.ArgumentParser | None],
    known: Known,
    path: Path,
) -> str:
    """The script for ``bash`` or ``zsh``; ``path`` is the other name that ./run is typed by."""
    head = _HEAD.format(shell=shell, verbs=shlex.quote(" ".join(verbs)))
    cases = []
    for verb in verbs:
        parser = parser_of(verb)
        if parser is not None:
            cases.append(f"    {verb})\n{''.join(_verb(_spec(parser, known)))}        ;;\n")
    body = head + "".join(cases) + _TAIL.format(path=shlex.quote(str(path)))
    return (_ZSH if shell == "zsh" else "") + body


def _verb(spec: _Spec) -> Iterator[str]:
    """The lines of one verb."""
    if not spec.actions:
        yield from _choice(spec, " " * 8)
        return
    yield "        case $action in\n"
    for name, action in spec.actions.items():
        yield f"        {name})\n"
        yield from _choice(action, " " * 12)
        yield "            ;;\n"
    yield f"        *) words={shlex.quote(' '.join([*spec.actions, *spec.options]))} ;;\n"
    yield "        esac\n"


def _choice(spec: _Spec, indent: str) -> Iterator[str]:
    """What may follow, by the word before."""
    yield f"{indent}case $prev in\n"
    for option, words in spec.values.items():
        yield f"{indent}{option}) {_set(words)} ;;\n"
    yield f"{indent}*)\n"
    yield f"{indent}    {_set(spec.words)}\n"
    options = shlex.quote(" ".join(spec.options))
    yield f"{indent}    case $cur in -*) words={options} files= ;; esac\n"
    yield f"{indent}    ;;\n{indent}esac\n"


def _set(words: list[str]) -> str:
    plain = shlex.quote(" ".join(word for word in words if word != _FILES))
    return f"words={plain}{' files=1' if _FILES in words else ''}"


def _spec(parser: argparse.ArgumentParser, known: Known) -> _Spec:
    found = _Spec([], {}, [], {})
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list of them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - likewise
            found.actions.update((name, _spec(one, known)) for name, one in action.choices.items())
            continue
        words = _words(action, known)
        if not action.option_strings:
            found.words.extend(words)
            continue
        found.options.extend(action.option_strings)
        if action.nargs != 0:
            found.values["|".join(action.option_strings)] = words
    return found


def _words(action: argparse.Action, known: Known) -> list[str]:
    if action.choices:
        return [str(one) for one in action.choices]
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    named = f"{metavar} {action.dest}".lower().replace("_", " ").replace("|", " ").split()
    for kind, words in known.items():
        if kind in named:
            return words
    return [_FILES] if _is_file(named, action) else []


def _is_file(named: list[str], action: argparse.Action) -> bool:
    return any(one in ("file", "dir", "path", "body", "archive") for one in named) or bool(
        action.type is Path
    )


def known() -> dict[str, list[str]]:
    """What there is here: streams, consumer groups, supervised programs, formats."""
    from ops.paths import ROOT  # noqa: PLC0415 - with the rest of what is looked up late
    from quantum_ops import streams  # noqa: PLC0415 - likewise

    names = [stream.name for stream in streams.CATALOGUE]
    groups = _stems(ROOT / "consumers", "*.py")
    programs = _stems(ROOT / "supervisor" / "conf.d", "*.conf")
    return {
        "deploy": ["deploy", *names],
        "stream": names,
        "group": groups,
        "consumer": groups,
        "program": programs,
        "format": ["text", "json", "raw"],
    }


def _stems(folder: Path, pattern: str) -> list[str]:
    return sorted(one.stem for one in folder.glob(pattern) if not one.stem.startswith("_"))
