"""HPACK (RFC 7541), as far as a client needs it that sends the same headers for ever."""

from collections.abc import Mapping, Sequence

from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple

from loadgen.wire.h2_frames import FrameError

__all__ = ["HeaderDecoder", "header_block"]

_MAX_KNOWN = 32


def header_block(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Header fields as HPACK bytes that mean the same on every connection and stream.

    Only static-table indices and literals that enter no table are used. The leading byte sets the dynamic table
    to no size at all, which is valid whatever table size the peer announces (RFC 7541, section 4.2).
    """
    fields = [NeverIndexedHeaderTuple(name, value) for name, value in headers]
    return b"\x20" + Encoder().encode(fields, huffman=False)


class HeaderDecoder:
    """Reads one connection's header blocks, and remembers those that come again and again."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._known: dict[bytes, Mapping[bytes, bytes]] = {}
        """Blocks that left the dynamic table alone: they mean the same until one changes it."""
        self.changes = 0
        """How often a block changed the table."""

    def knows(self, block: bytes) -> bool:
        """Whether ``block`` means now what it meant before, and changes nothing."""
        return block in self._known

    def decode(self, block: bytes) -> Mapping[bytes, bytes]:
        """The fields of a block, the last of equal names winning; `FrameError` if it is none.

        Every block must pass through here in its order, because each may change the table for those after it.
        """
        fields = self._known.get(block)
        if fields is not None:
            return fields
        limit = self._decoder.header_table_size
        table = self._decoder.header_table.dynamic_entries
        length, newest = len(table), table[0] if table else None
        try:
            fields = dict(self._decoder.decode(block, raw=True))
        except HPACKError as error:
            raise FrameError(f"bad header compression: {error}") from error
        # An entry added or evicted shows in the table's length or in its newest entry.
        same = len(table) == length and (not table or table[0] is newest)
        if not same or self._decoder.header_table_size != limit:
            self._known.clear()
            self.changes += 1
        elif len(self._known) < _MAX_KNOWN:
            self._known[block] = fields
        return fields
