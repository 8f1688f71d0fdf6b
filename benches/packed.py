#!/usr/bin/env python3
"""Requests a second of packed bodies, as ratios of one run: two or more programs in turn, or one packed and plain.

    packed.py PROGRAM [PROGRAM...]

The first program is the measure of the others. Bodies of NDJSON in three sizes go over 16 connections by `ab` (Debian:
apache2-utils) into a spool whose destination is never there; each answer comes after an fsync. Median of five rounds.
"""

import gzip
import json
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

SIZES = {"20 events": 20, "120 events": 120, "480 events": 480}
ROUNDS, SECONDS, CONNECTIONS = 5, 4, 16
HTTP, ADMIN = 18080, 18081
CONFIGURATION = """
[relay]
id = "packed"
data_dir = "{data}"
[[source]]
name = "http"
type = "http"
listen = "127.0.0.1:{http}"
[[destination]]
name = "nowhere"
bootstrap = ["127.0.0.1:9"]
[admin]
listen = "127.0.0.1:{admin}"
"""


def body(events):
    draw = random.Random(events)
    words = "the quick brown fox jumps over the lazy dog " * 4

    def event(n):
        return {"id": n, "token": f"{draw.getrandbits(128):032x}", "text": words, "values": [draw.random() for _ in range(8)]}

    return "".join(json.dumps(event(n)) + "\n" for n in range(events)).encode()


def is_ready():
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{ADMIN}/readyz?for=accept", timeout=1).status == 200
    except (urllib.error.URLError, OSError):
        return False


def rate(program, sent, packed):
    """Requests a second, none of them refused."""
    place = Path(tempfile.mkdtemp(prefix="packed-"))
    (place / "c.toml").write_text(CONFIGURATION.format(data=place / "data", http=HTTP, admin=ADMIN))
    with open(place / "log", "w") as log:
        agent = subprocess.Popen([program, "run", "-c", place / "c.toml"], stdout=log, stderr=log)
    try:
        end = time.monotonic() + 10
        while not is_ready():
            if agent.poll() is not None or time.monotonic() > end:
                sys.exit(f"{program} does not start:\n{(place / 'log').read_text()}")
            time.sleep(0.02)
        coding = ["-H", "Content-Encoding: gzip"] if packed else []
        said = subprocess.run(
            ["ab", "-q", "-k", "-t", str(SECONDS), "-n", "10000000", "-c", str(CONNECTIONS), "-p", sent, "-T",
             "application/x-ndjson", *coding, f"http://127.0.0.1:{HTTP}/v1/events/packed"],
            capture_output=True, text=True, check=True).stdout
        if refused := re.search(r"Non-2xx responses: +(\d+)", said):
            sys.exit(f"{refused[1]} requests were refused: nothing is measured")
        return float(re.search(r"Requests per second: +([\d.]+)", said)[1])
    finally:
        agent.kill()
        agent.wait()
        shutil.rmtree(place, ignore_errors=True)


def main(programs):
    if not programs:
        sys.exit(__doc__)
    # One program has only itself to be compared with: its plain bodies.
    runs = [(p, True) for p in programs] if len(programs) > 1 else [(programs[0], False), (programs[0], True)]
    with tempfile.TemporaryDirectory() as place:
        for name, events in SIZES.items():
            plain = body(events)
            files = {True: Path(place, "packed"), False: Path(place, "plain")}
            files[False].write_bytes(plain)
            files[True].write_bytes(gzip.compress(plain))
            rates = {run: [] for run in runs}
            for _ in range(ROUNDS):
                for program, packed in runs:
                    rates[program, packed].append(rate(program, files[packed], packed))
            print(f"{name}: {len(plain)} bytes, packed {files[True].stat().st_size}")
            first = statistics.median(rates[runs[0]])
            for program, packed in runs:
                median = statistics.median(rates[program, packed])
                rounds = ", ".join(f"{r:.0f}" for r in rates[program, packed])
                how = "packed" if packed else "plain"
                print(f"  {median / first:.2f}  {program} {how}: {median:.0f}/s ({rounds})", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
