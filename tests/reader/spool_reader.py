#!/usr/bin/env python3
"""A second reader of the spool, written from spool-format.md alone, with nothing but Python's standard library.

    spool_reader.py DIR

prints every event of the data directory as `spoolway spool dump DIR` does, one JSON object a line, and on standard
error one JSON object for each range of numbers that is lost. Exit code 3 if there is one, 1 if the directory cannot
be read. It shares no line with the program: where the two differ, one of them, or the document, is wrong.
"""

import base64
import collections
import json
import os
import stat
import sys

import spool_format
from spool_lane import SEGMENT, Lane, read_regular
from spool_parked import Parked


def main(directory):
    """Prints events and holes; returns the exit code."""
    try:
        lanes = open_lanes(directory)
    except (spool_format.NotASpool, OSError) as error:
        print(f"{directory}: {error}", file=sys.stderr)
        return 1
    lost = False
    for lane in lanes:
        parked = Parked(directory, lane.name, lane.spool)
        for number, block, event in parked.rows(lane.first()):
            print(to_json(row(number, block, event)))
        if parked.lost:
            lost = True
            print(to_json({"lane": lane.name.decode(), "parked_lost": parked.lost}), file=sys.stderr)
        for number, block, event in lane.rows():
            print(to_json(row(number, block, event)))
        for first, after, cause in lane.holes:
            lost = True
            hole = {"cause": cause, "first_seq": first, "lane": lane.name.decode(), "last_seq": after - 1}
            print(to_json(hole), file=sys.stderr)
    return 3 if lost else 0


def open_lanes(directory):
    """The lanes by name."""
    lanes = {}
    top = os.path.join(directory, "lanes")
    for name in sorted(os.listdir(top)) if os.path.isdir(top) else []:
        path = os.path.join(top, name)
        if spool_format.is_name(name.encode()) and stat.S_ISDIR(os.lstat(path).st_mode):
            lanes[name.encode()] = path
    text = read_regular(os.path.join(directory, "FORMAT"))
    identity = spool_format.spool_identity(text) if text is not None else None
    if identity is None:
        identity = identity_of_segments(lanes.values())
    return [Lane(path, name, identity) for name, path in lanes.items()]


def identity_of_segments(lanes):
    """The identity for a directory whose FORMAT is lost: that which most segments say, of as many the first."""
    said = collections.Counter()
    for lane in lanes:
        for name in sorted(os.listdir(lane)):
            data = read_regular(os.path.join(lane, name)) if SEGMENT.fullmatch(name) else None
            says = data and (spool_format.segment_header(data) or spool_format.block_at(data, spool_format.FIRST_BLOCK))
            if says:
                said[says.spool] += 1
    if said:
        return said.most_common(1)[0][0]
    raise spool_format.NotASpool("no spool: it has neither a whole FORMAT nor a segment that says whose it is")


def row(number, block, event):
    """An event as a JSON object."""
    fields = {
        "accepted_at": block.accepted_at,
        "lane": block.lane.decode(),
        "run": f"{block.run:016x}",
        "seq": number,
        "stream": block.stream.decode(),
        "time": block.accepted_at if event.time is None else event.time,
        **text_or_base64("value", event.value),
    }
    if event.key is not None:
        fields |= text_or_base64("key", event.key)
    if event.headers:
        fields["headers"] = [{"name": name, **text_or_base64("value", value)} for name, value in event.headers]
    return fields


def text_or_base64(name, value):
    """Bytes that are UTF-8 as text, others in base64 under another name."""
    if value is None:
        return {name: None}
    try:
        return {name: value.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(value).decode()}


def to_json(fields):
    """One line, keys sorted."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: spool_reader.py DIR")
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    sys.stderr.reconfigure(encoding="utf-8", newline="\n")
    sys.exit(main(sys.argv[1]))
