#!/usr/bin/env python3
"""Mutants of every sync, which `cargo mutants` has not.

    syncs.py LIST FUNCTIONS PROJECT

`cargo mutants` turns operators round and empties whole functions; a single call of `sync_data` in the middle of one it
leaves as it is. So for each call of a sync in the rooms of the disk, and in those that acknowledge, two more are put in
at the end of its LIST: the call *left out*, and its error *kept back*. FUNCTIONS is its list of the whole crate, which
says where functions begin and end. What they are written as needs no types: both arms of an `if` have that of the call.
"""

import json
import re
import sys
from pathlib import Path

CALLS = r"sync_data|sync_all|sync_dir|sync_parent|sync|fsync|fdatasync|(?<=db\.)flush|make_path_durable|settle(?=\(walker)"
ROOMS = ("disk", "spool", "state", "deliver", "agent")
# The simulated disks, the lane driven by hand, and what is there for tests alone.
TESTS = re.compile(r"/tests/|/tests\.rs|/sim/|/faulty\.rs|/damage\.rs|/syncs\.rs|/stepped\.rs|agent/beside/")
# What these answer is not a `Result`.
PLAIN = {"self.sync(": "true", "settle(": ""}


def receiver(text, at):
    """Where the expression begins whose last method's name begins at `at`."""
    while at > 0:
        if re.match(r"[\w.:&?]", text[at - 1]):
            at -= 1
        elif text[at - 1] in ")":
            depth, at = 1, at - 1
            while depth:
                at -= 1
                depth += {")": 1, "(": -1}.get(text[at], 0)
        elif text[at] == "." and text[at - 1].isspace():
            at = len(text[:at].rstrip())
        else:
            return at + len(re.match(r"[&\s]*", text[at:])[0])
    return at


def end_of_call(text, at):
    """Behind the bracket that closes the one at `at`."""
    depth = 0
    while True:
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
        if not depth:
            return at


def calls(text):
    """Spans of syncs in what is not a test: calls, then the name alone given to another function."""
    end = text.find("#[cfg(test)]\nmod tests")
    text = text if end < 0 else text[:end]
    for found in re.finditer(rf"(?<!fn )\b({CALLS})\(", text):
        if text.rfind("//", text.rfind("\n", 0, found.start()), found.start()) < 0:
            start = receiver(text, found.start())
            yield start, end_of_call(text, found.end() - 1)
    for found in re.finditer(rf"\w+::({CALLS})(?=\))", text):
        yield found.span()


def mutants(call, is_statement):
    """What is written in place of a call, and what that means. Nobody asks what a statement answers."""
    if "(" not in call:
        yield "left out", "|_| Ok(Default::default())"
        yield "error kept back", f"|it| match {call}(it) {{ Err(_) => Ok(Default::default()), fine => fine }}"
        return
    for begins, fine in PLAIN.items():
        if call.startswith(begins):
            yield "left out", f"(if crate::mutant() != 0 {{ {fine} }} else {{ {call} }})"
            if fine and not is_statement:
                yield "error kept back", f"({call} | {fine})"
            return
    yield "left out", f"(if crate::mutant() != 0 {{ Ok(Default::default()) }} else {{ {call} }})"
    yield "error kept back", f"(match {call} {{ Err(_) => Ok(Default::default()), fine => fine }})"


def point(text, at):
    line = text.count("\n", 0, at) + 1
    return {"line": line, "column": at - (text.rfind("\n", 0, at) + 1) + 1}


def function_at(functions, line):
    """The innermost."""
    spans = [(f["span"]["start"]["line"], f["span"]["end"]["line"], f) for f in functions]
    around = [(end - start, f) for start, end, f in spans if start <= line <= end]
    return min(around, key=lambda sized: sized[0], default=(0, None))[1]


def main():
    listed, functions, project = json.load(open(sys.argv[1])), {}, Path(sys.argv[3])
    for mutant in json.load(open(sys.argv[2])):
        if mutant["function"]:
            functions.setdefault(mutant["file"], []).append(mutant["function"])
    listed = [mutant for mutant in listed if mutant["genre"] != "Sync"]
    for path in sorted(path for room in ROOMS for path in (project / "src" / room).rglob("*.rs")):
        file, text = str(path.relative_to(project)), path.read_text()
        if TESTS.search(file):
            continue
        for start, end in calls(text):
            span = {"start": point(text, start), "end": point(text, end)}
            at = f"{file}:{span['start']['line']}:{span['start']['column']}"
            function = function_at(functions.get(file, []), span["start"]["line"])
            for what, replacement in mutants(text[start:end], text[end : end + 1] == ";"):
                name = f"{at}: {what}: {' '.join(text[start:end].split())}"
                new = {"file": file, "function": function, "genre": "Sync", "name": name}
                listed.append(new | {"replacement": replacement, "span": span})
    json.dump(listed, open(sys.argv[1], "w"), indent=1)


main()
