"""Tensors in shared memory: written once before the run, and answered into places that never collide.

Inputs of one prepared request lie in one region. Outputs have one large region of slots. A connection holds a slot for
as long as it lives, since it carries one request at a time. A slot whose request got no whole answer is never used
again: the server may yet write there, and would overwrite another request's outputs.
"""

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import accumulate

from loadgen.protocols.regions import Region
from loadgen.wire.base import Reply
from nightbench.errors import NightbenchError
from nightbench.samples import Outcome

__all__ = ["Place", "SharedMemory", "Slot"]

_ALIGN_BYTES = 64
"""A cache line, which no two tensors share."""
_PAGE_BYTES = 4096
_MOST_SLOTS = 4096
_OK = Outcome.OK
"""An enum's member costs a look-up of its own."""
_UNANSWERED = frozenset({Outcome.PROTOCOL_ERROR, Outcome.RESET})
"""After these the server may not be done with a slot."""

Place = tuple[str, int, int]
"""Where a tensor lies: the region's name, the offset in it and the bytes."""


class Slot:
    """The outputs of one request in flight."""

    __slots__ = ("_at", "_free", "_region", "_size", "asked", "tail", "taken")

    def __init__(self, region: Region | None, at: int, size: int, tail: bytes, free: "list[Slot]") -> None:
        self._region = region
        self._at = at
        self._size = size
        self._free = free
        self.taken = True
        self.asked = False
        """A request was sent that had no whole answer yet: the server may write here. Whoever sends it says so."""
        self.tail = tail
        """What every request into this slot ends with: the names of its places."""

    def answered(self, reply: Reply, *, reusable: bool) -> Reply:
        """``reply`` with the outputs before its message. Unless ``reusable``, the connection needs the slot no more.

        Every answer's outputs are read once, as a client that wanted them would: the slot is written anew at once.
        """
        if reply.outcome is _OK and self._region is not None:
            reply = Reply(_OK, b"".join((self._region.read(self._at, self._size), reply.body)))
        if reply.outcome not in _UNANSWERED:
            self.asked = False
            if not reusable:
                self.released()
        return reply

    def released(self) -> None:
        """The connection is closed or done: free again, unless the server may write here yet."""
        if self.taken and not self.asked:
            self.taken = False
            self._free.append(self)


class SharedMemory:
    """All regions of one codec. Not made for threads, nor to be carried over a fork."""

    def __init__(
        self,
        make: Callable[[int], Region],
        register: Callable[[Region], None],
        unregister: Callable[[Region], None],
        tail: Callable[[Sequence[Place]], bytes],
        output_bytes: Sequence[int],
        limit_bytes: int,
    ) -> None:
        """Nothing is taken yet.

        ``make`` gives a region of a size; `OSError` if it cannot. ``register`` and ``unregister`` tell the server;
        `NightbenchError` if it refuses. ``tail`` writes what a request ends with, of one length whatever the places.
        ``limit_bytes`` bounds the outputs' region: of address space, not of memory, where the system can.
        """
        self._make = make
        self._register = register
        self._unregister = unregister
        self._tail = tail
        self._output_bytes = tuple(output_bytes)
        self._starts, self._used = _laid_out(output_bytes)
        self._slot_bytes = max(_PAGE_BYTES, -(-self._used // _PAGE_BYTES) * _PAGE_BYTES)
        self._most_slots = max(1, min(_MOST_SLOTS, limit_bytes // self._slot_bytes))
        self._regions: list[Region] = []
        self._outputs: Region | None = None
        self._slots = 0
        self._free: list[Slot] = []

    @property
    def reply_places(self) -> list[tuple[int, int]]:
        """Start and bytes of each output in the body of a `Slot.answered` reply; the message follows `reply_bytes`."""
        return list(zip(self._starts, self._output_bytes, strict=True))

    @property
    def reply_bytes(self) -> int:
        return self._used

    def place(self, tensors: Sequence[bytes]) -> list[Place]:
        """Put the inputs of one request where the server finds them; `NightbenchError` if that cannot be."""
        if self._output_bytes and self._outputs is None:
            self._outputs = self._new(self._most_slots * self._slot_bytes)
        starts, size = _laid_out([len(tensor) for tensor in tensors])
        if not size:
            raise NightbenchError("inputs without a single byte cannot lie in shared memory")
        region = self._new(size)
        try:
            for start, tensor in zip(starts, tensors, strict=True):
                region.write(start, tensor)
        except OSError as error:
            raise NightbenchError(
                f"{size} bytes of shared memory: {error.strerror}; give /dev/shm more room"
            ) from error
        return [(region.name, start, len(tensor)) for start, tensor in zip(starts, tensors, strict=True)]

    def example_tail(self) -> bytes:
        """A tail as long as every slot's. After the first `place`."""
        return self._tail([] if self._outputs is None else self._places(self._outputs, 0))

    def slot(self) -> Slot:
        """A slot for one new connection; `OSError` if there is no room for another. After the first `place`."""
        if self._free:
            found = self._free.pop()
            found.taken = True
            return found
        region, at = self._outputs, self._slots * self._slot_bytes
        if region is None:
            return Slot(None, 0, 0, self._tail([]), self._free)
        if self._slots == self._most_slots:
            said = f"all {self._most_slots} places for outputs in shared memory are taken or given up"
            raise OSError(errno.ENOBUFS, said)
        region.commit(at, self._slot_bytes)
        self._slots += 1
        return Slot(region, at, self._used, self._tail(self._places(region, at)), self._free)

    def close(self) -> None:
        """Unregister and free every region, whatever the server says to it."""
        listens = True
        while self._regions:
            region = self._regions.pop()
            if listens:
                try:
                    self._unregister(region)
                except NightbenchError:
                    # It has ended, as a rule; each further question might take a whole timeout.
                    listens = False
            with suppress(OSError):
                region.close()
        self._outputs = None

    def _new(self, size_bytes: int) -> Region:
        try:
            region = self._make(size_bytes)
        except OSError as error:
            raise NightbenchError(f"{size_bytes} bytes of shared memory cannot be had: {error.strerror}") from error
        try:
            self._register(region)
        except NightbenchError:
            region.close()
            raise
        self._regions.append(region)
        return region

    def _places(self, region: Region, at: int) -> list[Place]:
        return [(region.name, at + start, size) for start, size in self.reply_places]


def _laid_out(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Where tensors of these sizes begin, one behind another on lines of their own, and the bytes of all of them."""
    ends = accumulate((-(-size // _ALIGN_BYTES) * _ALIGN_BYTES for size in sizes), initial=0)
    *starts, end = ends
    return starts, end
