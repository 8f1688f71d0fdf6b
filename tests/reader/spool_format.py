"""The bytes of spool-format.md: FORMAT, segment headers, blocks, events, slots. Nothing here opens a file."""

import re
import struct
import zlib
from dataclasses import dataclass

import spool_lz4

FIRST_BLOCK = 8192
HEADER_COPIES = (0, 4096)
SEGMENT_MAGIC = b"SPOOLWY1"
BLOCK_MAGIC = b"SWB1"
EVENTS, MARK, SEAL = 1, 2, 3
LZ4 = 1
PAYLOAD_MAX = 256 << 20
SHARED_BLOCK_MAX = 64 << 10
U64 = 1 << 64


class NotASpool(Exception):
    """The directory must not be read, or is none of ours."""


def spool_identity(text):
    """The identity that FORMAT gives, None if it is damaged; NotASpool if a later version forbids reading."""
    found = re.search(rb"(?:\A|\n)crc ([0-9a-f]{8})\n?\Z", text)
    if not found or zlib.crc32(text[: found.start(1) - 4]) != int(found[1], 16):
        return None
    fields = dict(re.findall(rb"^(\S+) ([0-9a-f]{16})$", text, re.MULTILINE))
    if not {b"spool", b"compat", b"read-only", b"incompat"} <= fields.keys():
        return None
    if int(fields[b"incompat"], 16):
        raise NotASpool("a newer version wrote this directory, and it must not be touched")
    return int(fields[b"spool"], 16)


@dataclass
class SegmentHeader:
    """What the first 4096 bytes of a segment, or the next, say."""

    incompat: int
    spool: int
    run: int
    segment: int
    base: int
    before: int  # predecessor's number, 0 if none
    before_bytes: int
    before_end: int
    lane: bytes


def segment_header(data):
    """The first copy whose checksum holds, else None."""
    for at in HEADER_COPIES:
        copy = data[at : at + 360]
        if len(copy) < 104 or copy[:8] != SEGMENT_MAGIC:
            continue
        crc, length, _verdict, lane, incompat = struct.unpack_from("<IHBBI", copy, 8)
        if length % 8 or not 104 <= length <= 360 or 104 + lane > length:
            continue
        if len(copy) < length or zlib.crc32(copy[12:length]) != crc:
            continue
        spool, run, segment, base, _begun, *before = struct.unpack_from("<QQQQqQQQ", copy, 24)
        return SegmentHeader(incompat, spool, run, segment, base, *before, copy[104 : 104 + lane])
    return None


@dataclass
class Block:
    """A block's header that holds, and where its payload is."""

    kind: int
    flags: int
    payload_crc: int
    stored: int
    unpacked: int
    count: int
    key: int
    spool: int
    run: int
    segment: int
    first: int
    synced_through: int
    accepted_at: int
    lane: bytes
    stream: bytes
    payload_at: int
    end: int  # where the next one begins

    @property
    def next(self):
        """The number after its last event."""
        return self.first + self.count


def block_at(data, at):
    """The block whose header at `at` is whole and within bounds, else None; its payload is not looked at."""
    if data[at : at + 4] != BLOCK_MAGIC or at + 104 > len(data):
        return None
    crc, length = struct.unpack_from("<IH", data, at + 4)
    if length % 8 or not 104 <= length <= 600 or zlib.crc32(data[at + 8 : at + length]) != crc:
        return None
    kind, flags, payload_crc, stored, unpacked, count, key = struct.unpack_from("<BBIIIII", data, at + 10)
    spool, run, segment, first, synced, accepted = struct.unpack_from("<QQQQQq", data, at + 32)
    lane, stream = data[at + 96], data[at + 97]
    if 100 + lane + stream > length:
        return None
    payload_at = at + length
    end = payload_at + stored + -stored % 8
    names = data[at + 100 : at + 100 + lane + stream]
    block = Block(
        kind, flags, payload_crc, stored, unpacked, count, key, spool, run, segment, first, synced, accepted,
        names[:lane], names[lane:], payload_at, end,
    )  # fmt: skip
    return block if _within_bounds(block, len(data)) else None


def _within_bounds(block, file_end):
    within = block.end <= file_end and max(block.stored, block.unpacked) <= PAYLOAD_MAX and block.next < U64
    if not within or block.kind != EVENTS:
        return within
    return (
        0 < 2 * block.count <= block.unpacked
        and (block.count == 1 or block.unpacked <= SHARED_BLOCK_MAX)
        and block.unpacked <= (255 * block.stored + 64 if block.flags & LZ4 else block.stored)
        and (block.flags & LZ4 or block.unpacked == block.stored)
    )


def is_name(name):
    """Whether bytes can be the name of a lane or stream."""
    return re.fullmatch(rb"[A-Za-z0-9._-]{1,249}", name) is not None and name not in (b".", b"..")


def payload_holds(data, block):
    """Whether the payload is the one that the header speaks of."""
    return zlib.crc32(data[block.payload_at : block.payload_at + block.stored]) == block.payload_crc


@dataclass
class Event:
    """One event, without its number."""

    value: bytes | None
    key: bytes | None
    headers: list
    time: int | None


def payload(data, block):
    """The payload of a whole block, unpacked; ValueError if that cannot be done."""
    stored = data[block.payload_at : block.payload_at + block.stored]
    return spool_lz4.decompress(stored, block.unpacked) if block.flags & LZ4 else stored


def events(payload, count):
    """The events of a payload, one by one; ValueError where it does not say what it must."""
    at = 0
    for _ in range(count):
        length, at = _varint(payload, at)
        body, at = _take(payload, at, length)
        yield _event(body)
    if at != len(payload):
        raise ValueError("bytes behind the last event")


def _event(body):
    if not body or body[0] & ~15:
        raise ValueError("flags of a later version")
    flags, at = body[0], 1
    time = key = value = None
    headers = []
    if flags & 1:
        time, at = _varint(body, at)
        time = time >> 1 ^ -(time & 1)
    if flags & 2:
        key, at = _sized(body, at)
    if flags & 4:
        count, at = _varint(body, at)
        for _ in range(count):
            header, at = _header(body, at)
            headers.append(header)
    if not flags & 8:
        value = body[at:]
    elif at != len(body):
        raise ValueError("a null value with bytes")
    return Event(value, key, headers, time)


def _header(body, at):
    name, at = _sized(body, at)
    length, at = _varint(body, at)
    value = None
    if length:
        value, at = _take(body, at, length - 1)
    return (name.decode("utf-8"), value), at


def _varint(data, at):
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("a number is cut off")
        value |= (data[at] & 127) << shift
        at += 1
        if not data[at - 1] & 128:
            if value >= U64:
                break
            return value, at
    raise ValueError("a number of more than 64 bits")


def _take(data, at, length):
    if at + length > len(data):
        raise ValueError("it is cut off")
    return data[at : at + length], at + length


def _sized(data, at):
    length, at = _varint(data, at)
    return _take(data, at, length)


def floor(data):
    """(dropped, released) of the newest slot that holds; (0, 0) if there is none."""
    size = len(data) // 3
    if size % 4096:
        size = 0
    best = (-1, None)
    for at in range(0, 3 * size, size or 1):
        magic, crc, generation, length = struct.unpack_from("<4sIQI", data, at)
        if magic != b"SWSL" or length > size - 24:
            continue
        if zlib.crc32(data[at + 8 : at + 24 + length]) == crc and generation > best[0]:
            best = (generation, data[at + 24 : at + 24 + length])
    value = best[1]
    if value is None or len(value) < 24 or value[0] != 1:
        return 0, 0
    return struct.unpack_from("<QQ", value, 8)
