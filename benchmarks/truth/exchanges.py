"""Requests and answers of a captured conversation, matched: how long each took on the wire."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.truth.pcap import Packets

__all__ = ["Exchanges", "exchanges"]


@dataclass(frozen=True, slots=True)
class Exchanges:
    """One row a POST that was answered."""

    request_ns: NDArray[np.int64]
    """When its last byte was sent."""
    response_ns: NDArray[np.int64]
    """When its answer's last byte was."""

    @property
    def service_ns(self) -> NDArray[np.int64]:
        return self.response_ns - self.request_ns


def exchanges(packets: Packets, server_port: int) -> Exchanges:
    """Where connections carry one request at a time (HTTP/1.1 without pipelining), turns are requests and answers.

    A turn is the segments that one side sends in a row; a request's turn and the server's turn after it on the same
    connection are an exchange. Segments sent again are left out: theirs is not when the bytes were sent.
    """
    carries = (packets.payload_bytes > 0) & (
        (packets.source_port == server_port) | (packets.target_port == server_port)
    )
    rows = np.flatnonzero(carries & ~_repeated(packets))
    asks = packets.target_port[rows] == server_port
    client_port = np.where(asks, packets.source_port[rows], packets.target_port[rows])
    order = np.argsort(client_port, kind="stable")
    rows, asks, client_port = rows[order], asks[order], client_port[order]
    if not len(rows):
        return Exchanges(np.zeros(0, np.int64), np.zeros(0, np.int64))
    changes = np.flatnonzero((np.diff(client_port) != 0) | (np.diff(asks.astype(np.int8)) != 0))
    first, last = np.r_[0, changes + 1], np.r_[changes, len(rows) - 1]
    pairs = np.flatnonzero(
        asks[first[:-1]]
        & ~asks[first[1:]]
        & (client_port[first[:-1]] == client_port[first[1:]])
        & packets.posts[rows[first[:-1]]]
    )
    return Exchanges(packets.at_ns[rows[last[pairs]]], packets.at_ns[rows[last[pairs + 1]]])


def _repeated(packets: Packets) -> NDArray[np.bool_]:
    """Segments whose end their side had already sent, by sequence numbers modulo 2^32, since the connection opened."""
    repeated = np.zeros(len(packets.at_ns), np.bool_)
    sent: dict[tuple[int, int], int] = {}
    columns = (packets.source_port, packets.target_port, packets.sequence, packets.payload_bytes, packets.opens)
    for row, (source, target, sequence, count, opens) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True)
    ):
        side, end = (source, target), (sequence + count) % 2**32
        known = sent.get(side)
        if opens:
            # A SYN is one number.
            sent[side] = (end + 1) % 2**32
        elif known is None or 0 < (end - known) % 2**32 < 2**31:
            sent[side] = end
        else:
            repeated[row] = count > 0
    return repeated
