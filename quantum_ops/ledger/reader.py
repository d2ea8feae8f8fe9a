"""The only place that reads YAML blocks: what the emitter writes, and what people wrote by hand.

Not a YAML parser. It reads the emitter's output exactly, and takes a hand-written scalar that YAML
would refuse (``notes: fixed: it works``) or cut (``fix #42``) for the text that was meant.
"""

from __future__ import annotations

import re
from typing import Any

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([A-Za-z]*)[^`]*")
_KEY = re.compile(r"([^\s\"'\[\]{}#&*!|>%@`,?-].*?|-[^\s].*?)[ \t]*:(?=[ \t]|\Z)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SINGLE = re.compile(r"'((?:[^']|'')*)'")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)")
_NAMED = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "/": "/", "0": "\0", " ": " "}
_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
_WORDS = {"true": True, "false": False, "null": None}
_EMPTY: dict[str, Any] = {"[]": list, "{}": dict}


def fenced(text: str) -> list[str]:
    """The contents of the fenced blocks of a Markdown text that are marked yaml, yml or not at all.

    A fence that is never closed reaches to the end.
    """
    blocks: list[str] = []
    lines: list[str] | None = None
    fence = ""
    kind = ""
    for line in text.replace("\r\n", "\n").split("\n"):
        found = _FENCE.fullmatch(line)
        if lines is None:
            if found:
                lines, fence, kind = [], found[1], found[2].lower()
        elif found and not found[2] and found[1].startswith(fence):
            _keep(blocks, kind, lines)
            lines = None
        else:
            lines.append(line)
    if lines is not None:
        _keep(blocks, kind, lines)
    return blocks


def _keep(blocks: list[str], kind: str, lines: list[str]) -> None:
    if kind in ("yaml", "yml", ""):
        blocks.append("\n".join([*lines, ""]))


def block(text: str, *, typed: bool = True) -> dict[str, Any]:
    """The fields of one block. With ``typed=False`` every plain scalar is text, as people meant it.

    Raises:
        ValueError: if a line cannot be understood or a name stands twice; it names the line.
    """
    return _Lines(text, typed=typed).document()


class _Lines:
    """The lines of one block and how far they were read."""

    def __init__(self, text: str, *, typed: bool) -> None:
        self.lines = text.replace("\r\n", "\n").split("\n")
        self.at = 0
        self.typed = typed

    def document(self) -> dict[str, Any]:
        self._skip()
        if self.at < len(self.lines) and self.lines[self.at].startswith("---"):
            rest = self.lines[self.at][3:].strip()
            self.at += 1
            if rest == "{}":
                return {}
            if rest:
                raise self._error("nothing may follow '---' on its line")
            self._skip()
        fields = self._map(0) if self.at < len(self.lines) else {}
        if self.at < len(self.lines) and self.lines[self.at] != "...":
            raise self._error("write it as 'name: value'")
        return fields

    def _map(self, indent: int) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        while self._depth() == indent and self.lines[self.at] != "...":
            name, rest = self._name(self.lines[self.at][indent:])
            if name in fields:
                raise self._error(f"the name {name!r} stands twice")
            fields[name] = self._value(rest, indent)
        return fields

    def _list(self, indent: int) -> list[Any]:
        found: list[Any] = []
        while self._depth() == indent and re.match(r"-(?: |\Z)", self.lines[self.at][indent:]):
            found.append(self._value(self.lines[self.at][indent + 1 :].strip(" \t"), indent))
        return found

    def _name(self, line: str) -> tuple[str, str]:
        """The name at the start of ``line`` and what follows its colon."""
        if line.startswith("? "):
            name = self._scalar(line[2:])
            self.at += 1
            line = self.lines[self.at].lstrip(" ") if self.at < len(self.lines) else ""
            if not line.startswith(":"):
                self.at -= 1
                raise self._error("a name after '?' needs a line with ':' below it")
            return name, line[1:].strip(" \t")
        for pattern in (_QUOTED, _SINGLE):
            quoted = pattern.match(line)
            if quoted and line[quoted.end() : quoted.end() + 1] == ":":
                return self._scalar(quoted[0]), line[quoted.end() + 1 :].strip(" \t")
        plain = _KEY.match(line)
        if not plain:
            raise self._error("write it as 'name: value'")
        return plain[1], line[plain.end() :].strip(" \t")

    def _value(self, rest: str, indent: int) -> Any:
        """What stands behind a name or a dash: on its line, or on the deeper lines below it."""
        self.at += 1
        if re.fullmatch(r"[|>][+-]?", rest):
            return self._literal(rest, indent)
        if rest:
            return self._scalar(rest)
        depth = self._depth()
        below = self.lines[self.at][depth:] if depth >= 0 else ""
        # YAML lets a list stand as deep as its name.
        if below[:2] in ("- ", "-") and depth >= indent:
            return self._list(depth)
        return self._map(depth) if depth > indent else None

    def _literal(self, header: str, indent: int) -> str:
        kept: list[str] = []
        depth = 0
        while self.at < len(self.lines):
            line = self.lines[self.at]
            here = len(line) - len(line.lstrip(" "))
            if line.strip(" ") and here <= indent:
                break
            depth = depth or (here if line.strip(" ") else 0)
            kept.append(line[depth:] if depth else "")
            self.at += 1
        text = "\n".join(kept).rstrip("\n")
        if header[0] == ">":
            text = text.replace("\n", " ")
        self._skip()
        return text if header.endswith("-") or not text else text + "\n"

    def _scalar(self, shown: str) -> Any:
        if shown[:1] == '"' and (quoted := _QUOTED.fullmatch(shown)):
            return _ESCAPE.sub(self._unescape, quoted[1])
        if shown[:1] == "'" and (quoted := _SINGLE.fullmatch(shown)):
            return quoted[1].replace("''", "'")
        if shown in _EMPTY:
            return _EMPTY[shown]()
        if self.typed:
            if shown in _WORDS:
                return _WORDS[shown]
            if _INT.fullmatch(shown):
                return int(shown)
        return shown

    def _unescape(self, found: re.Match[str]) -> str:
        code = found[1]
        if len(code) > 1:
            return chr(int(code[1:], 16))
        if code not in _NAMED:
            raise self._error(f"unknown escape '\\{code}'")
        return _NAMED[code]

    def _depth(self) -> int:
        """How deep the next line with something on it stands; -1 at the end."""
        self._skip()
        if self.at >= len(self.lines):
            return -1
        line = self.lines[self.at]
        return len(line) - len(line.lstrip(" "))

    def _skip(self) -> None:
        while self.at < len(self.lines) and (
            not self.lines[self.at].strip() or self.lines[self.at].lstrip(" ").startswith("#")
        ):
            self.at += 1

    def _error(self, cure: str) -> ValueError:
        number = min(self.at, len(self.lines) - 1)
        return ValueError(f"line {number + 1} of the block, {self.lines[number]!r:.120}: {cure}")
