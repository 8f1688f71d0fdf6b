#!/usr/bin/env python3
"""All mutants of a list in one build.

    schemata.py LIST PROJECT COPY

`cargo mutants` compiles the crate once a mutant, which for this crate means days. This script takes its list
(`cargo mutants --list --json`) and writes a copy of the source in which each function with mutants chooses among its
bodies by a number in the environment:

    fn f(a: u32) -> u32 { a + 1 }
    fn f(a: u32) -> u32 { match crate::mutant() { 7 => { a - 1 } 8 => { 0 } _ => { a + 1 } } }

So all of them are compiled together, and each is one run of the finished test program (hunt.py). What does not compile
is found by `cargo check`, taken out, and counted as unviable, as `cargo mutants` counts it. What can't be chosen while
the program runs (a constant, a `const fn`, a body behind `-> impl`) is left out and counted too. Both stand in
`COPY/schemata.json`, by a mutant's place in the list, from 1.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

VARIABLE = "SPOOLWAY_MUTANT"

# Not const, so that no function with it is either; those few are left out and counted.
CHOICE = f"""
/// Which mutant of the program this process is; 0 is none.
#[doc(hidden)]
#[must_use]
pub fn mutant() -> u32 {{
    static CHOSEN: std::sync::LazyLock<u32> = std::sync::LazyLock::new(|| {{
        std::env::var("{VARIABLE}").ok().and_then(|n| n.parse().ok()).unwrap_or(0)
    }});
    *CHOSEN
}}
"""

# What the compiler sees to be wrong is a mutant all the same.
ALLOWED = "#![allow(arithmetic_overflow, unconditional_panic)]\n"


def offsets(text):
    """Where each line begins."""
    starts, at = [0], 0
    for line in text.splitlines(keepends=True):
        at += len(line)
        starts.append(at)
    return starts


def place(starts, point):
    return starts[point["line"] - 1] + point["column"] - 1


def body_of(text, start, end):
    """The span between the braces of the function that stands at `start..end`."""
    depth, i = 0, start
    while i < end:
        c = text[i]
        if text.startswith("//", i):
            i = text.index("\n", i)
        elif c == '"':
            i += 1
            while text[i] != '"':
                i += 2 if text[i] == "\\" else 1
        elif c in "([":
            depth += 1
        elif c in ")]":
            depth -= 1
        elif c == ";" and depth == 0:
            return None
        elif c == "{" and depth == 0:
            return i + 1, text.rindex("}", start, end)
        i += 1
    return None


class Source:
    """One file and the mutants in it, by the function they are in."""

    def __init__(self, path):
        self.path = path
        self.text = path.read_text()
        self.starts = offsets(self.text)
        self.functions = {}
        self.left_out = {}

    def add(self, number, mutant):
        function = mutant["function"]
        if not function:
            self.left_out[number] = "not in a function"
            return
        start, end = (place(self.starts, function["span"][k]) for k in ("start", "end"))
        body = body_of(self.text, start, end)
        if not body:
            self.left_out[number] = "no body found"
            return
        signature = f" {self.text[start : body[0]]}"
        if " const fn " in signature:
            self.left_out[number] = "a const fn"
            return
        if "-> impl " in signature:
            # Each body would be a type of its own.
            self.left_out[number] = "returns an impl"
            return
        a, b = (place(self.starts, mutant["span"][k]) for k in ("start", "end"))
        if not body[0] <= a <= b <= body[1]:
            self.left_out[number] = "not in the body"
            return
        changed = f"{self.text[body[0]:a]}{mutant['replacement'] or ' '}{self.text[b:body[1]]}"
        self.functions.setdefault(body, []).append((number, changed))

    def written(self, without):
        """The file with its choices, and which lines belong to which mutant."""
        out, owners, at, line = [], [], 0, 1

        def put(piece, owner=None):
            nonlocal line
            first = line
            line += piece.count("\n")
            out.append(piece)
            if owner is not None:
                owners.append((first, line, owner))

        inner = 0
        for (start, end), mutants in sorted(self.functions.items()):
            if start < inner:
                for number, _ in mutants:
                    self.left_out[number] = "a function in a function"
                continue
            inner = end
            put(self.text[at:start])
            put("\nmatch crate::mutant() {\n")
            for number, changed in mutants:
                if number not in without:
                    put(f"{number} => {{\n{changed}\n}}\n", number)
            put("_ => {")
            put(self.text[start:end])
            put("}\n}\n")
            at = end
        put(self.text[at:])
        return "".join(out), owners


def check(root):
    """What does not compile: pairs of file and line."""
    command = ["cargo", "check", "--lib", "--profile", "test", "--features", "simulation", "--message-format", "json"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    found = set()
    for line in done.stdout.splitlines():
        message = json.loads(line).get("message")
        if message and message["level"].startswith("error"):
            # The beginnings of all: an arm whose type does not fit may be named beside the one that is blamed.
            found |= {(span["file_name"], span["line_start"]) for span in message["spans"]}
    return done.returncode == 0, found, done.stderr


def main():
    listed, project, copy = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    mutants = json.load(open(listed))
    copy.mkdir(parents=True, exist_ok=True)
    for name in ("Cargo.toml", "Cargo.lock", "clippy.toml", "README.md", "spool-format.md"):
        shutil.copy(project / name, copy / name)
    for name in ("src", "tests", "benches", "docs"):
        shutil.rmtree(copy / name, ignore_errors=True)
        shutil.copytree(project / name, copy / name, ignore=shutil.ignore_patterns("corpus"))
    lib = copy / "src/lib.rs"
    lib.write_text(f"{ALLOWED}{lib.read_text()}{CHOICE}")

    sources = {}
    for number, mutant in enumerate(mutants, 1):
        source = sources.setdefault(mutant["file"], Source(project / mutant["file"]))
        source.add(number, mutant)
    unviable = set()
    while True:
        owners = {}
        for name, source in sources.items():
            text, owners[name] = source.written(unviable)
            if not (copy / name).exists() or (copy / name).read_text() != text:
                (copy / name).write_text(text)
        fine, errors, said = check(copy)
        if fine:
            break
        new = {
            owner
            for name, line in errors
            for first, last, owner in owners.get(name, [])
            if first <= line <= last
        } - unviable
        print(f"{len(new)} do not compile", flush=True)
        if not new:
            sys.exit(f"something else does not compile:\n{sorted(errors)[:20]}\n{said[-3000:]}")
        unviable |= new
    left_out = {n: why for s in sources.values() for n, why in s.left_out.items()}
    result = {"unviable": sorted(unviable), "left_out": left_out}
    json.dump(result, open(os.path.join(copy, "schemata.json"), "w"), indent=1)
    print(f"{len(mutants)} listed, {len(unviable)} unviable, {len(left_out)} left out: {sorted(set(left_out.values()))}")


main()
