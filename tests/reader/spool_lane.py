"""One lane: which of its segments count, where each ends, and what of it is lost."""

import os
import re
import stat
from dataclasses import dataclass

import spool_format as form

NEVER = form.U64


@dataclass
class Segment:
    """A file of the lane."""

    path: str
    number: int
    header: form.SegmentHeader | None
    data: bytes
    # What later segments prove about this one.
    limit: int = NEVER  # no number at or beyond it stands here
    end_bytes: int | None = None
    end_number: int | None = None
    void: bool = False


class Lane:
    """Reads a lane; `rows` yields (number, block, event), and `holes` grows by (first, after last, cause)."""

    def __init__(self, path, name, spool):
        self.path, self.name, self.spool = path, name, spool
        self.holes = []
        self.floor = max(self._floor())
        self.segments = self._segments()
        self._judge()

    def rows(self):
        """Everything that is whole, in order."""
        counted = [segment for segment in self.segments if not segment.void]
        if not counted:
            return
        begins = self._begins(counted[0])
        self.expected = min(max(1, self.floor), begins)
        for segment in counted:
            yield from self._segment(segment)
        self._lose_up_to(self.floor, "missing")

    # === what is there

    def _floor(self):
        data = read_regular(os.path.join(self.path, "floor"))
        return form.floor(data) if data is not None else (0, 0)

    def _segments(self):
        found = {}
        for name in sorted(os.listdir(self.path)):
            match = re.fullmatch(r"([0-9]{20})\.seg", name)
            path = os.path.join(self.path, name)
            data = read_regular(path) if match else None
            named = int(match[1]) if match else 0
            if data is None or not 0 < named < form.U64:
                continue
            header = form.segment_header(data)
            if header and (header.spool, header.lane) != (self.spool, self.name):
                header = None
            number = header.number if header else named
            segment = Segment(path, number, header, data)
            if self._begins(segment) is None:
                continue  # prepared ahead and never used
            if number not in found or number == named:
                found[number] = segment
        return [found[number] for number in sorted(found)]

    def _begins(self, segment):
        """The first number that may stand in it, None if it was never used."""
        if segment.header:
            return segment.header.base
        block = next(self._whole(segment, form.FIRST_BLOCK, len(segment.data), 0), None)
        return block and block[1].first

    # === what the later ones say

    def _judge(self):
        limit, successor = NEVER, None
        for segment in reversed(self.segments):
            segment.limit = limit
            if successor:
                segment.void = segment.number > successor.before
                if segment.number == successor.before:
                    segment.end_bytes, segment.end_number = successor.before_bytes, successor.before_end
            if segment.void:
                continue
            limit = min(limit, self._begins(segment))
            successor = segment.header or successor

    # === reading

    def _segment(self, segment):
        self._lose_up_to(self._begins(segment), "missing")
        if segment.header and segment.header.incompat:
            yield from ()
        else:
            yield from self._blocks(segment)
        proven = segment.end_number if segment.end_number is not None else segment.limit
        if proven != NEVER:
            self._lose_up_to(min(proven, segment.limit), "damaged")

    def _blocks(self, segment):
        at = form.FIRST_BLOCK
        end = min(len(segment.data), segment.end_bytes if segment.end_bytes is not None else len(segment.data))
        while at < end:
            block = self._mine(segment, at)
            good = block and block.end <= end and block.first >= self.expected and block.next <= segment.limit
            if good and form.payload_holds(segment.data, block):
                self._lose_up_to(block.first, "damaged")
                yield from self._events(segment, block)
                if block.kind == form.SEAL:
                    return
                at = block.end
                continue
            if not self._goes_on(segment, at):
                return
            if good:
                at = block.end
                continue
            found = next(self._whole(segment, at + 8, end, self.expected), None)
            if found is None:
                return
            at = found[0]

    def _goes_on(self, segment, at):
        """At a bad block: whether there is proof that what was expected here was durable."""
        if segment.end_bytes is not None or segment.limit != NEVER:
            return True
        proven = max((b.synced_through for b in self._headers(segment, at + 8)), default=0)
        proven = max(proven, self.floor - 1)
        if proven < self.expected:
            return False
        if next(self._whole(segment, at + 8, len(segment.data), self.expected), None) is None:
            self._lose_up_to(proven + 1, "damaged")
        return True

    def _events(self, segment, block):
        if block.count == 0:
            return
        if block.kind != form.EVENTS or block.flags & ~form.LZ4 or block.key:
            self._lose_up_to(block.next, "of a later version")
            return
        try:
            for event in form.events(segment.data, block):
                yield self.expected, block, event
                self.expected += 1
        except ValueError:
            self._lose_up_to(block.next, "undecodable")

    # === blocks of this segment

    def _mine(self, segment, at):
        block = form.block_at(segment.data, at)
        if block and (block.spool, block.lane, block.segment) == (self.spool, self.name, segment.number):
            return block
        return None

    def _headers(self, segment, at):
        """Every block header of this segment from `at` on, at whatever multiple of 8."""
        while (at := segment.data.find(form.BLOCK_MAGIC, at)) >= 0:
            if at % 8 == 0 and (block := self._mine(segment, at)):
                yield block
            at += 1

    def _whole(self, segment, at, end, first):
        """(offset, block) of every whole block from `at` on that begins at `first` or later."""
        while (at := segment.data.find(form.BLOCK_MAGIC, at, end)) >= 0:
            block = self._mine(segment, at) if at % 8 == 0 else None
            if block and block.first >= first and block.next <= segment.limit and block.end <= end:
                if form.payload_holds(segment.data, block):
                    yield at, block
            at += 1

    def _lose_up_to(self, number, cause):
        if self.expected < number:
            self.holes.append((self.expected, number, cause))
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
