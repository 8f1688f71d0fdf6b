#!/usr/bin/env python3
"""Runs each mutant of one build (see schemata.py) against the tests, and says which survive.

    hunt.py LIST COPY OUT [--only REGEX] [--shard K/N] TEST-PROGRAM...

Three rounds, each for what survived the one before: the tests of the mutant's own room, all quick tests of the
library, everything (the exhaustive stories too, then each further test program). A test that fails, a crash, or no
sign of life for a minute kills a mutant. What is found goes to OUT, a line each, so that a run can be taken up again.
"""

import argparse
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SILENCE = 90
LONG = ["exhaustive", "sim::long", "sim::faults", "sim::rot", "agent::beside"]


def limits():
    os.setsid()
    # A mutant that loops must not take the machine with it.
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))


def killed_by(program, arguments, number, cwd):
    """The first test that fails, or None if the mutant survives."""
    home = tempfile.mkdtemp(prefix="mutant-", dir=os.environ.get("MUTANT_TMP"))
    env = {**os.environ, "SPOOLWAY_MUTANT": str(number), "TMPDIR": home, "RUST_BACKTRACE": "0"}
    process = subprocess.Popen(
        [program, *arguments], cwd=cwd, env=env, preexec_fn=limits, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    verdict, pending, heard = None, b"", time.monotonic()
    out = process.stdout.fileno()
    try:
        while True:
            ready, _, _ = select.select([out], [], [], 5)
            if not ready:
                if time.monotonic() - heard > SILENCE:
                    return "hangs"
                continue
            piece = os.read(out, 65536)
            if not piece:
                code = process.wait()
                return None if code == 0 else f"exit {code}"
            heard = time.monotonic()
            *lines, pending = (pending + piece).split(b"\n")
            for line in lines:
                if line.endswith(b"FAILED") and line.startswith(b"test "):
                    return line.decode(errors="replace")[5:-11]
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        shutil.rmtree(home, ignore_errors=True)
    return verdict


def room(name):
    """`src/spool/format/block.rs` is tested by `spool::format::block`, and by what stands beside it."""
    parts = name.removeprefix("src/").removesuffix(".rs").split("/")
    return "::".join(p for p in parts if p != "mod")


def main():
    ask = argparse.ArgumentParser()
    ask.add_argument("--only", default="")
    ask.add_argument("--shard", default="0/1")
    ask.add_argument("list")
    ask.add_argument("copy")
    ask.add_argument("out")
    ask.add_argument("programs", nargs="+")
    given = ask.parse_args()
    mutants = json.load(open(given.list))
    known = json.load(open(Path(given.copy) / "schemata.json"))
    skip = set(known["unviable"]) | {int(n) for n in known["left_out"]}
    out = Path(given.out)
    done = {json.loads(line)["number"] for line in out.read_text().splitlines()} if out.exists() else set()
    shard, of = (int(n) for n in given.shard.split("/"))
    lib, *others = given.programs
    quick = ["spool::", "disk::", "state::", "deliver::"] + [w for name in LONG for w in ("--skip", name)]
    for number, mutant in enumerate(mutants, 1):
        if number in skip or number in done or number % of != shard or not re.search(given.only, mutant["name"]):
            continue
        began = time.monotonic()
        rounds = [(lib, [room(mutant["file"])] + quick[4:]), (lib, quick), (lib, ["spool::", "agent::"])]
        rounds += [(other, []) for other in others]
        killer = next((k for k in (killed_by(p, a, number, given.copy) for p, a in rounds) if k), None)
        row = {"number": number, "name": mutant["name"], "killer": killer, "seconds": round(time.monotonic() - began, 1)}
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if not killer:
            print(f"SURVIVES {mutant['name']}", flush=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    alive = sum(1 for row in rows if not row["killer"])
    share = 100 * (len(rows) - alive) / max(1, len(rows))
    print(f"{len(rows)} run, {alive} survive: {share:.1f} % killed; {len(skip)} unviable or left out")
    sys.exit(1 if alive else 0)


main()
