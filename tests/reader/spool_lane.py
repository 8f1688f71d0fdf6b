"""One lane: which of its segments count, where each ends, and what of it is lost."""

import os
import re
import stat
from dataclasses import dataclass

import spool_format as form

NEVER = form.U64
SEGMENT = re.compile(r"([0-9]{20})\.seg")


@dataclass
class Segment:
    """A file of the lane."""

    number: int
    header: form.SegmentHeader | None
    begins: int | None  # the first number that may stand in it; None if it does not say
    data: bytes
    # What later segments say of this one.
    void: bool = False
    limit: int = NEVER  # no number at or beyond it stands here
    end_bytes: int | None = None
    due: int | None = None  # the number that is expected at its first block


class Lane:
    """Reads a lane: `rows` gives (number, block, event), and `holes` grows by (first, after last, cause)."""

    def __init__(self, path, name, spool):
        self.path, self.name, self.spool = path, name, spool
        self.holes = []
        self.begin = max(1, *self._floor())
        self.segments = self._segments()
        self._judge()

    def rows(self):
        """Everything that is whole, in order."""
        counted = [segment for segment in self.segments if not segment.void]
        if not counted:
            return
        self.expected = min(self.begin, counted[0].begins or self.begin)
        for segment in counted:
            for number, block, event in self._segment(segment):
                if number >= self.begin:
                    yield number, block, event

    def first(self):
        """What is parked below this number is in the lane no more."""
        counted = [segment for segment in self.segments if not segment.void]
        return max(self.begin, counted[0].begins or 0) if counted else NEVER

    # === what is there

    def _floor(self):
        data = read_regular(os.path.join(self.path, "floor"))
        return form.floor(data) if data is not None else (0, 0)

    def _segments(self):
        found = {}
        for name in sorted(os.listdir(self.path)):
            match = SEGMENT.fullmatch(name)
            named = int(match[1]) if match else 0
            data = read_regular(os.path.join(self.path, name)) if 0 < named < form.U64 else None
            segment = self._candidate(data, named) if data is not None else None
            if segment and (segment.number not in found or segment.number == named):
                found[segment.number] = segment
        return [found[number] for number in sorted(found)]

    def _candidate(self, data, named):
        """What a file is by its header, else by its first block, else by its name; None if it does not count."""
        header, block = form.segment_header(data), form.block_at(data, form.FIRST_BLOCK)
        says = header or block
        if says and (says.spool, says.lane) != (self.spool, self.name):
            return None
        segment = Segment(says.segment if says else named, header, None, data)
        if header:
            segment.begins = header.base
        elif block:
            segment.begins = block.first
        elif not any(whole for _, whole in self._sightings(segment, len(data))):
            return None  # prepared ahead and never used
        return segment

    def _judge(self):
        """Backwards: what each segment proves of those before it."""
        limit, successor = NEVER, None
        for segment in reversed(self.segments):
            segment.limit = limit
            if successor:
                segment.void = segment.number > successor.before
                if segment.number == successor.before:
                    segment.end_bytes = successor.before_bytes
                    segment.limit = min(limit, successor.before_end)
            if not segment.void:
                limit = min(limit, segment.begins or NEVER)
                successor = segment.header or successor

    # === reading

    def _segment(self, segment):
        self._lose_up_to(segment.begins or 0, "missing")
        if not segment.header or not segment.header.incompat:
            yield from self._blocks(segment)
        if segment.limit != NEVER:
            self._lose_up_to(segment.limit, "damaged")

    def _blocks(self, segment):
        at, segment.due = form.FIRST_BLOCK, self.expected
        end = len(segment.data) if segment.end_bytes is None else min(len(segment.data), segment.end_bytes)
        while True:
            block = self._mine(segment, at, end)
            if block is None or block.first != self.expected or not form.payload_holds(segment.data, block):
                sightings = list(self._sightings(segment, end))
                block = self._lowest(sightings)
                if not self._goes_on(segment, sightings, block) or block is None:
                    return
                self._lose_up_to(block.first, "damaged")
            yield from self._events(segment, block)
            if block.kind == form.SEAL:
                return
            at = block.end

    def _goes_on(self, segment, sightings, block):
        """At a bad block: whether there is proof that what was expected here was durable."""
        if segment.end_bytes is not None or segment.limit != NEVER:
            return True
        proven = max((header.synced_through for header, _ in sightings), default=0)
        if proven < self.expected:
            return False
        if block is None:
            self._lose_up_to(proven + 1, "damaged")
        return True

    def _lowest(self, sightings):
        """The whole block to go on with: it has events or is a seal, and the lowest number from the expected one on."""
        brings = [block for block, whole in sightings if whole and (block.count or block.kind == form.SEAL)]
        return min((b for b in brings if b.first >= self.expected), key=lambda b: b.first, default=None)

    def _events(self, segment, block):
        if block.count == 0:
            return
        if block.kind != form.EVENTS or block.flags & ~form.LZ4 or block.key or not form.is_name(block.stream):
            self._lose_up_to(block.next, "unreadable")
            return
        try:
            for event in form.events(form.payload(segment.data, block), block.count):
                yield self.expected, block, event
                self.expected += 1
        except ValueError:
            self._lose_up_to(block.next, "unreadable")

    # === blocks of this segment

    def _mine(self, segment, at, end):
        """The block at `at` if it is this segment's and within what counts of it; its payload may be bad."""
        block = form.block_at(segment.data, at)
        if block and (block.spool, block.lane, block.segment) == (self.spool, self.name, segment.number):
            if block.end <= end and block.next <= segment.limit:
                return block
        return None

    def _sightings(self, segment, end):
        """(block, whether it is whole) of the headers of this segment that count, in the order of the file."""
        at = run = form.FIRST_BLOCK
        due = segment.due
        while (at := segment.data.find(form.BLOCK_MAGIC, at)) >= 0:
            block = self._mine(segment, at, end) if at % 8 == 0 else None
            if block is None:
                at += 1
                continue
            whole = form.payload_holds(segment.data, block)
            yield block, whole
            # It stands where it belongs: its length is right, though its payload be bad.
            placed = at == run and block.first == due
            if placed:
                run, due = block.end, block.next
            at = block.end if whole or placed else at + 1

    def _lose_up_to(self, number, cause):
        if self.expected < number:
            if self.begin < number:
                self.holes.append((max(self.expected, self.begin), number, cause))
            self.expected = number


def read_regular(path):
    """A regular file's bytes; None for anything else, and for what has gone meanwhile."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
