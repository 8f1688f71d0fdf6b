"""Parked events: what a lane may have deleted although some topic still waits for it."""

import os
import re
import stat
import struct
import zlib
from dataclasses import dataclass

import spool_format as form
import spool_lz4
from spool_lane import read_regular

FILE = re.compile(r"([0-9]{20})-([0-9]{20})\.parked")
FILE_MAGIC, RECORD_MAGIC = b"SWPK", b"SWPB"


@dataclass
class Record:
    """The head of a record, with what a row needs of a block."""

    lane: bytes
    stream: bytes
    first: int
    count: int
    accepted_at: int
    run: int
    payload_crc: int
    stored: int
    unpacked: int
    payload_at: int


class Parked:
    """Reads what is parked of a lane: `rows` gives (number, record, event), and `lost` counts events."""

    def __init__(self, directory, lane, spool):
        self.top = os.path.join(directory, "parked", lane.decode())
        self.lane, self.spool = lane, spool
        self.lost = 0

    def rows(self, below):
        """Every event with a number under `below`, of each block once however many topics wait for it."""
        shown = set()
        for begin, after, path in self._files():
            data = read_regular(path) if begin < below else None
            for record, payload in self._records(data, begin, after) if data is not None else ():
                if record.first < below and (record.first, record.run) not in shown:
                    shown.add((record.first, record.run))
                    for number, event in enumerate(form.events(payload, record.count), record.first):
                        yield number, record, event

    def _files(self):
        """(from, upto, path) in the order of from, destination and topic."""
        found = []
        for destination in directories(self.top):
            for topic in directories(os.path.join(self.top, destination)):
                path = os.path.join(self.top, destination, topic)
                for name in os.listdir(path):
                    match = FILE.fullmatch(name)
                    if match and int(match[1]) < int(match[2]):
                        found.append((int(match[1]), destination, topic, int(match[2]), os.path.join(path, name)))
        return [(begin, after, path) for begin, _, _, after, path in sorted(found)]

    def _records(self, data, begin, after):
        """Every whole record of a file with its payload."""
        at, named = self._header(data)
        whole = damaged = 0
        while (at := data.find(RECORD_MAGIC, at)) >= 0:
            record = self._record(data, at, begin, after)
            stored = record and data[record.payload_at : record.payload_at + record.stored]
            if record and len(stored) == record.stored and zlib.crc32(stored) == record.payload_crc:
                packed = record.stored < record.unpacked
                whole += record.count
                at = record.payload_at + record.stored
                yield record, spool_lz4.decompress(stored, record.unpacked) if packed else stored
            else:
                damaged += record.count if record else 0
                at = record.payload_at if record else at + 1
        self.lost += damaged if named is None else max(0, named - whole)

    def _header(self, data):
        """Where the records begin, and how many events there are; (0, None) if the header is damaged."""
        if len(data) < 48 or data[:4] != FILE_MAGIC:
            return 0, None
        crc, length, version, _, spool, _, _, events = struct.unpack_from("<IIHHQQQQ", data, 4)
        if length > len(data) or zlib.crc32(data[8:length]) != crc or (version, spool) != (1, self.spool):
            return 0, None
        return length, events

    def _record(self, data, at, begin, after):
        if at + 65 > len(data):
            return None
        crc, payload_crc, stored, unpacked, count, spool, first, time, run, _segment = struct.unpack_from(
            "<IIIIIQQqQQ", data, at + 4
        )
        end = at + 65 + data[at + 64]
        if end > len(data) or zlib.crc32(data[at + 8 : end]) != crc or spool != self.spool:
            return None
        if not begin <= first < after or count == 0 or not stored <= unpacked <= form.PAYLOAD_MAX:
            return None
        stream = data[at + 65 : end]
        return Record(self.lane, stream, first, count, time, run, payload_crc, stored, unpacked, end)


def directories(path):
    """Names of the directories in one, in order; none if it is not there."""
    try:
        names = sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [name for name in names if stat.S_ISDIR(os.lstat(os.path.join(path, name)).st_mode)]
