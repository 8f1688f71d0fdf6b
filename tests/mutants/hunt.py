#!/usr/bin/env python3
"""Runs each mutant of one build (see schemata.py) against the tests, and says which survive.

    hunt.py [--quick] [--upto SECONDS] [--only REGEX] [--every K] [--jobs N] [--test NAME]... LIST COPY OUT

Without a mutant each test of the library is timed once. Then a mutant meets, until one fails: the tests that killed its
neighbours, the quick tests of its own file, all quick tests, the slow ones, and the further programs (`--test`). A test
that fails, a crash, or a round that says nothing for too long kills a mutant: too long is processor time of its own, or
time in which it was asleep, so that a busy machine kills nothing. What is found goes to OUT, a line each, so that a hunt
can be taken up again; with `--quick` only the quick tests are run, and what survives them is what a later hunt without
it begins with. `--upto` counts tests of so many seconds as quick, also those of other files and of the slow rooms. `--again`
meets what survived with the tests of today.
"""

import argparse
import collections
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOMS = ("spool::", "disk::", "state::", "deliver::", "agent::")
# Whose tests can meet a mutant of a room: its own, and those of rooms that use it.
USERS = {"disk": ROOMS, "spool": ("spool::",), "state": ("state::", "deliver::"), "deliver": ("deliver::",), "agent": ("agent::",)}
QUICK, CHEAP = 0.4, 0.06
# Tests that are none of the quick ones: not even timed for a quick hunt.
SLOW = ("spool::tests::sim::", "agent::beside::", "deliver::engine::tests::")
# Between two results this many seconds may pass, and this many times what the slowest test takes without a mutant.
GRACE, PATIENCE = 0.5, 6
LOOK = 0.25


def limits():
    os.setsid()
    # A mutant that loops must not take the machine with it.
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))


class Silence:
    """How long a program has said nothing, in seconds of its own: those it worked, and those it slept through."""

    def __init__(self, pid):
        self.of = Path(f"/proc/{pid}")
        self.broken()

    def broken(self):
        self.worked, self.asleep, self.looked = self.work(), 0.0, time.monotonic()

    def work(self):
        fields = (self.of / "stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def sleeps(self):
        states = [(task / "stat").read_text().rsplit(")", 1)[1].split()[0] for task in (self.of / "task").iterdir()]
        return all(state in "SZ" for state in states)

    def seconds(self):
        before, self.looked = self.looked, time.monotonic()
        try:
            if self.sleeps():
                self.asleep += self.looked - before
            return max(self.asleep, self.work() - self.worked)
        except OSError:
            return 0.0  # It or one of its threads has just ended.


def run(program, arguments, number, cwd, patience):
    """Lines of a test program as they come, then how it ended: a code, or `None` if no line came for too long. With each
    the seconds before it, as `Silence` counts."""
    home = tempfile.mkdtemp(prefix="mutant-", dir=os.environ.get("MUTANT_TMP"))
    env = {**os.environ, "SPOOLWAY_MUTANT": str(number), "TMPDIR": home, "RUST_BACKTRACE": "0"}
    env["PROPTEST_MAX_SHRINK_ITERS"] = "0"
    process = subprocess.Popen(
        [program, *arguments], cwd=cwd, env=env, preexec_fn=limits, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    pending = b""
    out = process.stdout.fileno()
    silence = Silence(process.pid)
    try:
        while True:
            ready, _, _ = select.select([out], [], [], LOOK)
            silent = silence.seconds()
            if not ready:
                # Two threads may work.
                if silent > 2 * patience:
                    yield None, silent
                    return
                continue
            piece = os.read(out, 65536)
            if not piece:
                yield process.wait(), silent
                return
            silence.broken()
            *lines, pending = (pending + piece).split(b"\n")
            yield from ((line.decode(errors="replace"), silent) for line in lines)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


class Round:
    """Tests of one program that are run together; no names are all of them."""

    def __init__(self, program, names, slowest):
        self.program, self.names, self.slowest = program, names, slowest

    def killer(self, number, cwd):
        """The first test that fails, or None if the mutant survives."""
        # libtest knows --exact; the programs with their own harness are run whole.
        arguments = [*self.names, "--exact", "--test-threads", "2"] if self.names else []
        # What it prints itself may stand between a test's name and its result.
        last = "?"
        for line, _ in run(self.program, arguments, number, cwd, GRACE + PATIENCE * self.slowest):
            if line is None:
                return "too slow"
            if isinstance(line, int):
                return None if line == 0 else f"exit {line} after {last}"
            if line.startswith("test ") and not line.startswith("test result"):
                last = line.split()[1]
                if line.endswith("FAILED"):
                    return last
        return None


def built(copy, tests):
    """The library's test program, then the others."""
    kinds = ["--lib"] + [word for name in tests for word in ("--test", name)]
    command = ["cargo", "test", "--no-run", *kinds, "--features", "simulation", "--message-format", "json"]
    done = subprocess.run(command, cwd=copy, stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    of = {m["target"]["name"]: m["executable"] for m in messages if m.get("executable") and m["profile"]["test"]}
    return [of[name] for name in ("spoolway", *tests)]


def timed(lib, cwd, arguments):
    """The seconds that each test takes alone, without a mutant."""
    seconds, since = {}, 0.0
    for line, silent in run(lib, [*arguments, "--test-threads", "1"], 0, cwd, 1800):
        since += silent
        if line is None or (isinstance(line, int) and line != 0):
            sys.exit(f"the tests fail or hang without a mutant, after {[*seconds][-3:]}: {line}")
        if isinstance(line, str) and line.startswith("test ") and not line.startswith("test result"):
            if line.endswith("FAILED"):
                sys.exit(f"fails without a mutant: {line}")
            if not line.endswith("ignored"):
                seconds[line.split()[1]] = since
            since = 0.0
    return seconds


def kept(cache, how):
    """What a file keeps, made if it is not there."""
    if not cache.exists():
        cache.write_text(json.dumps(how(), indent=1))
    return json.loads(cache.read_text())


def room(name):
    """`src/spool/format/block.rs` is tested by `spool::format::block`, and by what stands beside it."""
    parts = name.removeprefix("src/").removesuffix(".rs").split("/")
    return "::".join(p for p in parts if p != "mod") + "::"


class Hunt:
    def __init__(self, given):
        self.lib, *others = built(given.copy, given.test)
        self.cwd, self.quick, self.upto = given.copy, given.quick, given.upto
        skip = [word for name in SLOW for word in ("--skip", name)]
        self.seconds = kept(Path(given.copy) / "seconds.json", lambda: timed(self.lib, self.cwd, [*ROOMS, *skip]))
        if not self.quick or self.upto:
            self.seconds |= kept(Path(given.copy) / "slow.json", lambda: timed(self.lib, self.cwd, SLOW))
        self.others = []
        for program in others:
            began = time.monotonic()
            if (end := [*run(program, [], 0, self.cwd, 1800)][-1][0]) != 0:
                sys.exit(f"{program} fails without a mutant: {end}")
            self.others.append(Round(program, [], time.monotonic() - began))
        # What killed last, by file and by function.
        self.killers = collections.defaultdict(collections.Counter)

    def of(self, names):
        return Round(self.lib, names, max(self.seconds[n] for n in names))

    def rounds(self, mutant):
        """From the cheapest to the dearest; a test is run once."""
        own, asked = room(mutant["file"]), set()
        neighbours = [n for place in places(mutant) for n, _ in self.killers[place].most_common(3)]
        inside = [n for n in self.seconds if n.startswith(USERS[own.split("::")[0]])]
        for names in (
            neighbours,
            [n for n in inside if n.startswith(own) and self.seconds[n] < QUICK],
            [n for n in inside if self.seconds[n] < CHEAP],
            () if self.quick else [n for n in inside if self.seconds[n] < QUICK],
            [n for n in inside if self.seconds[n] < self.upto],
            () if self.quick else self.seconds,
        ):
            names = sorted({n for n in names if n not in asked}, key=self.seconds.get)
            asked.update(names)
            if names:
                yield self.of(names)
        yield from () if self.quick else self.others

    def killer(self, number, mutant):
        for each in self.rounds(mutant):
            if killer := each.killer(number, self.cwd):
                if killer in self.seconds:
                    self.learn(mutant, killer)
                return killer
        return None

    def learn(self, mutant, killer):
        for place in places(mutant):
            self.killers[place][killer] += 1


def known_rows(out, mutants):
    """What earlier hunts wrote, the last word on each mutant."""
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    if any(mutants[row["number"] - 1]["name"] != row["name"] for row in rows):
        sys.exit(f"{out} is of another list of mutants: remove it to begin anew")
    return {row["number"]: row for row in rows}


def places(mutant):
    function = mutant["function"] or {}
    return (mutant["file"], function.get("function_name")), (mutant["file"],)


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--quick", action="store_true", help="leave the slow tests to another time")
    ask.add_argument("--upto", type=float, default=0, metavar="SECONDS", help="tests of so many seconds count as quick")
    ask.add_argument("--again", action="store_true", help="also those that an earlier hunt says survive")
    ask.add_argument("--only", default="", metavar="REGEX", help="mutants whose name this is found in")
    ask.add_argument("--every", type=int, default=1, metavar="K", help="each Kth of them")
    ask.add_argument("--jobs", type=int, default=1, metavar="N", help="so many at once")
    ask.add_argument("--test", action="append", default=[], metavar="NAME", help="a program of tests/, for survivors")
    ask.add_argument("list", help="what `cargo mutants --list --json` printed")
    ask.add_argument("copy", help="where schemata.py wrote")
    ask.add_argument("out")
    given = ask.parse_args()
    mutants = json.load(open(given.list))
    known = json.load(open(Path(given.copy) / "schemata.json"))
    skip = set(known["unviable"]) | {int(n) for n in known["left_out"]}
    wanted = [n for n, m in enumerate(mutants, 1) if n not in skip and re.search(given.only, m["name"])]
    out = Path(given.out)
    rows = known_rows(out, mutants)
    if not given.quick:
        rows = {n: row for n, row in rows.items() if row["killer"] or not row["quick"]}
    if given.again:
        rows = {n: row for n, row in rows.items() if row["killer"]}
    hunt = Hunt(given)
    for number, row in rows.items():
        if row["killer"] in hunt.seconds:
            hunt.learn(mutants[number - 1], row["killer"])

    def met(number):
        mutant, began = mutants[number - 1], time.monotonic()
        killer = hunt.killer(number, mutant)
        seconds = round(time.monotonic() - began, 1)
        return {"number": number, "name": mutant["name"], "killer": killer, "quick": given.quick, "seconds": seconds}

    left = [number for number in wanted[:: given.every] if number not in rows]
    with ThreadPoolExecutor(given.jobs) as pool, out.open("a") as file:
        for row in pool.map(met, left):
            rows[row["number"]] = row
            print(json.dumps(row), file=file, flush=True)
            if not row["killer"]:
                print(f"SURVIVES {row['name']}", flush=True)
    alive = sum(1 for row in rows.values() if not row["killer"])
    share = 100 * (len(rows) - alive) / max(1, len(rows))
    print(f"{len(rows)} run, {alive} survive: {share:.1f} % killed; {len(skip)} unviable or left out")
    sys.exit(1 if alive else 0)


main()
