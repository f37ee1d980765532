"""The program that becomes the sandboxed one: it takes from itself what a stranger must not have, then runs the file it was given.

Layers, each of which holds alone: resource limits; Landlock (no file outside one folder, no TCP, Linux 5.13); a system call filter (no
process, no socket, no signal to others, no change of rights); a user namespace without a network and with a small disk, where
permitted. Without settings for a job it prints what could not be had. Standard library alone, started by `sandbox`; knows no Worldline.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import struct
import sys
from contextlib import suppress

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 1, 24, 38, 22
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET, CLONE_THREAD = (
    0x20000,
    0x08000000,
    0x10000000,
    0x40000000,
    0x10000,
)
EPERM, ENOSYS = 1, 38

# System calls by machine: audit's number of the architecture, clone, clone3, those with a process in front, those that are refused.
# Refused: fork vfork socket ptrace process_vm_readv/writev io_uring_setup tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal,
# chmod chown setxattr in all their forms, mount and its kin, keys, bpf, unshare, setns. Own process alone: kill tgkill prlimit64.
MACHINES = {
    "x86_64": (
        0xC000003E, 56, 435, (62, 234, 302),
        (57, 58, 41, 101, 310, 311, 425, 200, 129, 297, 424, 90, 91, 268, 452, 92, 93, 94, 260, 188, 189, 190, 165, 166, 155, 428, 429,
         430, 432, 442, 161, 248, 249, 250, 321, 272, 308),
    ),
    "aarch64": (
        0xC00000B7, 220, 435, (129, 131, 261),
        (198, 117, 270, 271, 425, 130, 138, 240, 424, 52, 53, 452, 54, 55, 5, 6, 7, 40, 39, 41, 428, 429, 430, 432, 442, 51, 217, 218,
         219, 280, 97, 268),
    ),
}  # fmt: skip


class Refused(OSError):
    """The kernel does not permit a layer."""


def prctl(*args: int) -> None:
    if LIBC.prctl(*(ctypes.c_ulong(a) for a in (*args, 0, 0, 0, 0)[:5])):
        raise Refused(ctypes.get_errno(), "prctl")


def namespaces(work: str, disk: int) -> None:
    """A network with nothing in it, and a disk of its own for the folder."""
    uid, gid = os.getuid(), os.getgid()
    if LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWNS):
        raise Refused(ctypes.get_errno(), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    if work:
        options = f"size={disk},nr_inodes=4096,mode=700".encode()
        if not LIBC.mount(b"tmpfs", work.encode(), b"tmpfs", 6, options):  # 6: no set-user-id, no devices
            os.chdir(work)


def landlock(reads: list[str], writes: list[str]) -> None:
    """Files: read and run below `reads`, anything below `writes`, nothing else. No TCP; no signal to whoever is outside."""
    abi = LIBC.syscall(444, None, ctypes.c_size_t(0), 1)
    if abi < 1:
        raise Refused(ctypes.get_errno(), "landlock")
    everything = (1 << 13) - 1 | (abi >= 2) << 13 | (abi >= 3) << 14 | (abi >= 5) << 15
    rules = struct.pack("<QQQ", everything, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)[
        : 8 if abi < 4 else 16 if abi < 6 else 24
    ]
    ruleset = LIBC.syscall(444, rules, ctypes.c_size_t(len(rules)), 0)
    if ruleset < 0:
        raise Refused(ctypes.get_errno(), "landlock")
    reading, of_a_file = 1 | 4 | 8, 1 | 2 | 4 | (abi >= 3) << 14 | (abi >= 5) << 15
    for path, rights in [*((r, reading) for r in reads), *((w, everything & ~1) for w in writes), ("/dev/null", 6)]:
        with suppress(OSError):
            at = os.open(path, os.O_PATH | os.O_CLOEXEC)
            if not os.path.isdir(path):
                rights &= of_a_file
            LIBC.syscall(445, ruleset, 1, struct.pack("<Qi", rights, at), 0)
            os.close(at)
    if LIBC.syscall(446, ruleset, 0):
        raise Refused(ctypes.get_errno(), "landlock")
    os.close(ruleset)


def filter_calls() -> None:
    """seccomp: the calls of `MACHINES` fail with EPERM; clone makes threads alone."""
    if platform.machine() not in MACHINES:
        raise Refused(ENOSYS, "seccomp")
    arch, clone, clone3, own, refused = MACHINES[platform.machine()]
    code: list[tuple[int, int, int, int]] = []

    def load(at: int) -> None:
        code.append((0x20, 0, 0, at))

    def unless(test: int, value: int, skip: int) -> None:
        """Go on where the test holds, else skip so many."""
        code.append((test, 0, skip, value))

    def give(what: int) -> None:
        code.append((0x06, 0, 0, what))

    equal, at_least, any_bit, allow, deny = 0x15, 0x35, 0x45, 0x7FFF0000, 0x00050000
    load(4)
    code.append((equal, 1, 0, arch))
    give(0x80000000)  # another architecture's calls have other numbers: the end of the process
    load(0)
    unless(at_least, 0x40000000, 1)
    give(deny | EPERM)
    unless(equal, clone3, 1)
    give(deny | ENOSYS)  # the C library then makes its threads by clone
    for number in refused:
        unless(equal, number, 1)
        give(deny | EPERM)
    unless(equal, clone, 4)
    load(16)
    unless(any_bit, CLONE_THREAD, 1)
    give(allow)
    give(deny | EPERM)
    for number in own:
        unless(equal, number, 5)
        load(16)
        code.append((equal, 1, 0, os.getpid()))
        unless(equal, 0 if number == own[2] else os.getpid(), 1)  # prlimit64 calls its own process 0 too
        give(allow)
        give(deny | EPERM)
    give(allow)
    raw = b"".join(struct.pack("<HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(raw, len(raw))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer))
    held = ctypes.create_string_buffer(program, len(program))
    prctl(PR_SET_SECCOMP, 2, ctypes.addressof(held))


def limit(cpu: float, memory: int, file: int) -> None:
    seconds = max(1, round(cpu))
    for name, most in (
        ("RLIMIT_CPU", (seconds, seconds + 1)), ("RLIMIT_AS", (memory, memory)), ("RLIMIT_FSIZE", (file, file)),
        ("RLIMIT_NOFILE", (64, 64)), ("RLIMIT_CORE", (0, 0)),
    ):  # fmt: skip
        if hasattr(resource, name):
            resource.setrlimit(getattr(resource, name), most)


def give_up_rights(reads: list[str], writes: list[str]) -> list[str]:
    """All that can be had of the rest; what cannot, a sentence each."""
    lacks = []
    if not sys.platform.startswith("linux"):
        return ["The program may read and write files and use the network: only Linux can forbid it that."]
    with suppress(OSError):
        for capability in range(64):
            prctl(PR_CAPBSET_DROP, capability)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    try:
        landlock(reads, writes)
    except OSError:
        lacks.append("The program may read and write this user's files: this kernel has no Landlock (Linux 5.13).")
    try:
        filter_calls()
    except OSError:
        # At least no process beside it: for root this limit does not hold.
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        lacks.append(
            "The program may use sockets and signals: there is no system call filter for this kernel or processor."
        )
    return lacks


def main() -> None:
    settings = json.loads(sys.argv[1])
    job = settings.get("job")
    if job:
        if sys.platform.startswith("linux"):
            prctl(PR_SET_PDEATHSIG, 9)
        limit(settings["cpu"], settings["memory"], settings["file"])
    lacks = []
    work = f"{job}/inside" if job else ""
    try:
        namespaces(work, settings.get("disk", 0))
    except (OSError, AttributeError):
        lacks.append("The program has no network and disk of its own: user namespaces are not permitted here.")
    program = f"{job}/program.py"
    lacks += give_up_rights([*settings["reads"], program], [work] if work else [])
    if not job:
        print("\n".join(lacks))
        return
    environment = {
        "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": work, "TMPDIR": work, "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    os.execve(settings["python"], [settings["python"], "-I", program], environment)


if __name__ == "__main__":
    main()
