"""The only place where an open segment becomes a sealed one: packed, summed, indexed.

Whatever is killed in between, the raw file stays until everything that replaces it is durable and
was read back; then sealing simply begins anew.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import zstandard

from quantum_ops.history import blocks, segment
from quantum_ops.history.blocks import Growing, Index
from quantum_ops.history.errors import DamagedError
from quantum_ops.history.folder import Folder, Name
from quantum_ops.ledger import durable

LEVEL = 3
"""zstd -3: higher levels cost eight times the time for no better ratio on such lines."""
_SUM = re.compile(r"([0-9a-f]{64})  ([0-9]{8}-[0-9]{4}-[0-9]{2}-[0-9]{2}\.jsonl)")


def seal(folder: Folder, name: Name, growing: Growing) -> Index:
    """Seal segment ``name``, which holds what ``growing`` says; gives its index.

    Raises :class:`OSError` if the disk refuses: the raw file is then as it was.
    """
    raw, packed = folder.raw(name), folder.packed(name)
    digest, packed_at = _pack(raw, packed, growing)
    _read_back(packed, digest)
    index = growing.finished(digest, packed_at, segment.sha256_of(packed))
    durable.write(folder.marks(name), bytes(growing.marks))
    durable.write(folder.index(name), blocks.encode(index))
    _add_sum(folder, name, digest)
    raw.unlink()
    durable.sync_folder(folder.base)
    return index


def sums(folder: Folder) -> dict[str, str]:
    """Name of each sealed segment (without .zst) -> SHA-256 of its raw bytes, in hex.

    Raises :class:`DamagedError` for a line that sha256sum would not take.
    """
    try:
        text = folder.sums.read_text(encoding="ascii")
    except FileNotFoundError:
        return {}
    except ValueError:
        raise DamagedError(f"{folder.sums}: is no text") from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _SUM.fullmatch(line)
        if not match:
            raise DamagedError(f"{folder.sums} line {number}: {line[:90]!r} is no sum of a segment")
        if found.setdefault(match[2], match[1]) != match[1]:
            raise DamagedError(f"{folder.sums} line {number}: another sum of {match[2]} before it")
    return found


def reindex(folder: Folder, name: Name) -> Index:
    """Make index and marks of a sealed segment anew. The indexes before it must be there.

    Raises :class:`DamagedError` if the segment is not what its sum says.
    """
    first, frontier = 0, None
    for before in folder.names():
        if before >= name:
            break
        frontier = blocks.frontier_of(
            blocks.decode_summary(folder.index(before).read_bytes()).frontier
        )
        first = frontier.size
    growing = Growing(first, frontier or blocks.empty())
    made = segment.index_anew(folder.packed(name), growing)
    known = sums(folder).get(str(name))
    if known != made.sha256:
        raise DamagedError(
            f"{folder.packed(name)}: its lines are not those that {folder.sums.name} speaks of; "
            "see: ./run archive verify"
        )
    durable.write(folder.marks(name), bytes(growing.marks))
    durable.write(folder.index(name), blocks.encode(made))
    return made


def _pack(raw: Path, packed: Path, growing: Growing) -> tuple[str, list[int]]:
    """Write the sealed file; gives the SHA-256 of the raw bytes and where each block begins."""
    compress = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress
    digest = hashlib.sha256()
    draft = packed.with_name(f".{packed.name}.tmp")
    packed_at: list[int] = []
    at = 0
    ends = [block.at for block in growing.blocks[1:]] + [growing.size]
    try:
        with raw.open("rb") as source, draft.open("wb") as target:
            for block, end in zip(growing.blocks, ends, strict=True):
                content = source.read(end - block.at)
                digest.update(content)
                frame = compress(content)
                packed_at.append(at)
                at += len(frame)
                target.write(frame)
            target.flush()
            os.fsync(target.fileno())
        draft.replace(packed)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    durable.sync_folder(packed.parent)
    return digest.hexdigest(), packed_at


def _read_back(packed: Path, digest: str) -> None:
    """Check that the sealed file gives the raw bytes: after this the raw file goes."""
    found = hashlib.sha256()
    for _, raw in segment.frames(packed):
        found.update(raw)
    if found.hexdigest() != digest:
        raise OSError(f"{packed}: does not read back as it was written")


def _add_sum(folder: Folder, name: Name, digest: str) -> None:
    known = sums(folder)
    if known.get(str(name)) == digest:
        return
    known[str(name)] = digest
    text = "".join(f"{known[one]}  {one}\n" for one in sorted(known))
    durable.write(folder.sums, text.encode())
