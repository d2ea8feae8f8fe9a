"""The one form in which an entry is archived: a line of canonical JSON. The only place of it.

    {"fields":["plan_id","9a3f","qty","1"],"id":"1769494530123-0","stream":"quantum:stream:apply.plan"}

``fields`` keeps what Redis keeps: names and values in turn, in order, doubled names included.
Bytes that are no UTF-8 stand there in base64, and ``base64`` lists their places in ``fields`` (from
0), so that every reader of JSON reads the line and the original bytes are recovered exactly.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence

import msgspec

from quantum_ops import codec, entry_id, streams
from quantum_ops.events import Event


class Entry(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One archived entry. The order of the fields here is the order of names in a line."""

    base64: tuple[int, ...] = ()
    fields: list[str] = []
    id: str = ""
    stream: str = ""

    @property
    def key(self) -> tuple[int, int]:
        """The id as numbers, comparable."""
        return entry_id.parse(self.id)

    @property
    def ms(self) -> int:
        """Epoch milliseconds of the id: the server's clock when the entry was added."""
        return int(self.id.partition("-")[0])

    @property
    def flat(self) -> list[bytes]:
        """Names and values in turn, byte for byte as they stood in the stream."""
        found = [text.encode() for text in self.fields]
        for at in self.base64:
            found[at] = b64decode(self.fields[at], validate=True)
        return found

    def event(self) -> Event:
        """The typed event.

        Raises :class:`~quantum_ops.errors.DecodeError` if the bytes make none, ``KeyError`` for a
        stream that is not in the catalogue.
        """
        decoder: codec.Decoder[Event] = codec.decoder(streams.find(self.stream).event)
        return decoder(self.flat)


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Entry)
decode = _decoder.decode
"""The entry of a line. Raises ``msgspec.MsgspecError`` (a ``ValueError``) if it is none."""
decode_many = _decoder.decode_lines
"""The entries of many lines, a list."""


def encode(stream: str, id_: bytes, flat: Sequence[bytes]) -> bytes:
    """The line of an entry, without LF. The same entry gives the same bytes on any host."""
    try:
        # One decode and one split for the whole entry cost a third of one for each part.
        texts = b"\0".join(flat).decode().split("\0")
        if len(texts) == len(flat) or not flat:
            return _encode(Entry((), texts if flat else [], id_.decode(), stream))
    except UnicodeDecodeError:
        pass
    return _carefully(stream, id_, flat)


def tail(stream: str) -> bytes:
    """How lines of that stream end, without their LF: told apart without reading them."""
    return b'","stream":%b}' % _encode(stream)


def key_of(line: bytes, end: bytes) -> tuple[int, int]:
    """The id of a line that ends with ``end``, a ``tail``; read from its end alone."""
    # Quotes inside a field are escaped: nothing in it looks like this.
    return entry_id.parse(line[line.rfind(b',"id":"') + 7 : -len(end)])


def ending(stream: str, key: tuple[int, int]) -> bytes:
    """How the line of that entry ends, with its LF."""
    return b',"id":"%d-%d","stream":%b}\n' % (*key, _encode(stream))


def _carefully(stream: str, id_: bytes, flat: Sequence[bytes]) -> bytes:
    texts, binary = [], []
    for at, part in enumerate(flat):
        try:
            texts.append(part.decode())
        except UnicodeDecodeError:
            texts.append(b64encode(part).decode())
            binary.append(at)
    return _encode(Entry(tuple(binary), texts, id_.decode(), stream))
