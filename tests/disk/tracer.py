"""Counts the system calls of a program that change a disk, and strikes at one of them.

    tracer.py LOG POINT BLOW SCOPE COMMAND...

LOG gets a line for every point: its number, the thread, the call, what it was made on. POINT is the number of the
call to strike at (0: none), BLOW is `kill` or the name of an error (EIO, ENOSPC), which the call returns once
instead of being made. Points count from the first call of the program, or, with `+` before POINT, from the moment
a SIGUSR1 comes, which is answered by the line `armed`. SCOPE is `changes` (calls that change or sync something on
a disk) or `all` (every call). A SIGTERM kills the program; the tracer ends after it.

The count is of the whole program, in the order in which the kernel sees the calls of all its threads, which is
why this is not strace: that counts each thread alone. A seccomp filter lets all other calls pass at full speed.
Standard library only; Linux on x86_64.
"""

import ctypes
import errno
import os
import signal
import stat
import struct
import sys

NAMES = {
    1: "write", 2: "open", 18: "pwrite64", 20: "writev", 74: "fsync", 75: "fdatasync", 76: "truncate",
    77: "ftruncate", 82: "rename", 83: "mkdir", 84: "rmdir", 85: "creat", 86: "link", 87: "unlink", 88: "symlink",
    162: "sync", 257: "openat", 258: "mkdirat", 263: "unlinkat", 264: "renameat", 265: "linkat", 266: "symlinkat",
    277: "sync_file_range", 285: "fallocate", 296: "pwritev", 306: "syncfs", 316: "renameat2", 328: "pwritev2",
}
# Calls that open a file change something when they may make it; the argument that says so.
OPENING = {2: 1, 257: 2}
# Calls whose first argument is an open file.
ON_FILE = {1, 18, 20, 74, 75, 77, 277, 285, 296, 328}
# Of these, the ones that are made on sockets and pipes too.
MAYBE_FILE = {1, 20}
# Which argument is the name of what a call is made on.
NAMED = {2: 0, 76: 0, 82: 0, 83: 0, 84: 0, 85: 0, 87: 0, 257: 1, 258: 1, 263: 1, 264: 1, 316: 1}

PTRACE_TRACEME, PTRACE_CONT, PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_SETOPTIONS = 0, 7, 12, 13, 0x4200
OPTIONS = 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000  # fork, vfork, clone, exec, seccomp; kill at the tracer's exit
EVENT_EXEC, EVENT_SECCOMP = 4, 7
RAX, ORIG_RAX, REGISTERS = 10, 15, 27
ALL_THREADS = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, pid, data=0):
    if libc.ptrace(request, pid, None, data) == -1 and ctypes.get_errno() != errno.ESRCH:
        raise OSError(ctypes.get_errno(), "ptrace")


def program(scope):
    """The filter: which calls stop for the tracer."""
    load, equal, some, answer = 0x20, 0x15, 0x45, 0x06
    traced, allowed = 0x7FF00000, 0x7FFF0000
    if scope == "all":
        return [(answer, 0, 0, traced)]
    code = [(load, 0, 0, 0)]
    for number, argument in OPENING.items():
        code += [(equal, 0, 4, number), (load, 0, 0, 16 + 8 * argument), (some, 0, 1, os.O_CREAT),
                 (answer, 0, 0, traced), (answer, 0, 0, allowed)]
    for number in sorted(set(NAMES) - set(OPENING)):
        code += [(equal, 0, 1, number), (answer, 0, 0, traced)]
    return code + [(answer, 0, 0, allowed)]


def name_at(tid, address):
    with open(f"/proc/{tid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        try:
            path = memory.read(4096)
        except OSError:
            return "?"
    return os.path.basename(path.split(b"\0")[0].rstrip(b"/")).decode(errors="replace")


def become(command, lines):
    ptrace(PTRACE_TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    code = b"".join(struct.pack("HBBI", *line) for line in lines)
    held = ctypes.create_string_buffer(code, len(code))
    fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(held)), 16)
    # No new privileges, then the filter.
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, fprog, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")
    os.execvp(command[0], command)


class Tracer:
    def __init__(self, log, point, blow, scope, command):
        self.log = open(log, "w", buffering=1)
        self.armed = not point.startswith("+")
        self.point, self.blow, self.scope = int(point), blow, scope
        self.count, self.begun, self.struck = 0, False, False
        self.pid = os.fork()
        if self.pid == 0:
            become(command, self.program())
        signal.signal(signal.SIGUSR1, self.arm)
        signal.signal(signal.SIGTERM, lambda *_: os.kill(self.pid, signal.SIGKILL))
        os.waitpid(self.pid, 0)
        ptrace(PTRACE_SETOPTIONS, self.pid, OPTIONS)
        ptrace(PTRACE_CONT, self.pid)

    def program(self):
        return program(self.scope)

    def arm(self, *_):
        self.armed = True
        self.log.write("armed\n")

    def run(self):
        while True:
            tid, status = os.waitpid(-1, ALL_THREADS)
            if tid == self.pid and not os.WIFSTOPPED(status):
                return 0 if self.struck else os.waitstatus_to_exitcode(status) & 0x7F
            if os.WIFSTOPPED(status):
                self.stopped(tid, status)

    def stopped(self, tid, status):
        event, passed_on = status >> 16, os.WSTOPSIG(status)
        if passed_on in (signal.SIGTRAP, signal.SIGSTOP):
            passed_on = 0  # an event of the tracer's own, or a new thread
        if event == EVENT_EXEC:
            self.begun = True
        elif event == EVENT_SECCOMP and self.begun and self.armed:
            self.call(tid)
        ptrace(PTRACE_CONT, tid, int(passed_on))

    def call(self, tid):
        words = open(f"/proc/{tid}/syscall").read().split()
        number = int(words[0])
        if number not in NAMES and self.scope != "all":
            return
        on = name_at(tid, int(words[1 + NAMED[number]], 16)) if number in NAMED else ""
        if number in ON_FILE:
            link = f"/proc/{tid}/fd/{int(words[1], 16)}"
            try:
                on, mode = os.path.basename(os.readlink(link)), os.stat(link).st_mode
            except OSError:
                mode = 0
            if number in MAYBE_FILE and not stat.S_ISREG(mode) and self.scope != "all":
                return
        self.count += 1
        thread = open(f"/proc/{tid}/comm").read().strip()
        self.log.write(f"{self.count} {thread} {NAMES.get(number, number)} {on}\n")
        if self.count == self.point:
            self.strike(tid)

    def strike(self, tid):
        self.struck = True
        self.log.write("struck\n")
        if self.blow == "kill":
            os.kill(self.pid, signal.SIGKILL)
            return
        registers = (ctypes.c_uint64 * REGISTERS)()
        ptrace(PTRACE_GETREGS, tid, ctypes.addressof(registers))
        registers[ORIG_RAX] = 2**64 - 1
        registers[RAX] = 2**64 - getattr(errno, self.blow)
        ptrace(PTRACE_SETREGS, tid, ctypes.addressof(registers))


if __name__ == "__main__":
    sys.exit(Tracer(*sys.argv[1:5], sys.argv[5:]).run())
