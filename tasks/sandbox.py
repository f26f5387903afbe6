"""What a process may still do while it reads a stranger's file: no network, no other program, no file that it was not given.

Linux keeps to it, whoever runs the process: Landlock (landlock(7)) says which files can be opened, seccomp (seccomp(2))
which system calls there are. Neither can be undone. It is no virtual machine: a flaw of the kernel is a way out.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sightline.errors import SightlineError

MEMORY: Final = 8 << 30  # bytes
CPU_S: Final = 300
FILE_BYTES: Final = 8 << 30
ROOT: Final = Path(__file__).parents[1]
READABLE: Final = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/sys/devices/system/node",
)  # fmt: skip
"""What libraries look at; /proc/self is this process alone, so no other's environment can be read."""

# linux/landlock.h
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_TRUNCATE = 1 << 14
_RIGHTS: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}  # all that each version knows; later ones add devices
_READ: Final = _EXECUTE | _READ_FILE | _READ_DIR  # to execute is to map a library here: seccomp starts no program
_WRITE: Final = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _TRUNCATE
_FILE_RIGHTS: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # system calls
_VERSION, _PATH_BENEATH = 1, 1

# linux/prctl.h, linux/seccomp.h, linux/audit.h, linux/bpf_common.h, and system calls of x86-64
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_X86_64, _X32 = 0xC000003E, 0x40000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026  # EPERM, ENOSYS
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_CLONE, _CLONE3, _THREAD = 56, 435, 0x00010000
_REFUSED: Final = (
    41, 42, 43, 44, 46, 49, 50, 53, 288, 299, 307,  # socket, connect, accept, send*, bind, listen, socketpair, accept4, *mmsg
    57, 58, 59, 322,  # fork, vfork, execve, execveat
    62, 200, 234, 129, 297, 424, 434, 438,  # kill, tkill, tgkill, *sigqueueinfo, pidfd_*
    29, 30, 31, 64, 65, 66, 68, 69, 70, 71, 240,  # shared memory, semaphores and queues of System V, mq_open
    101, 310, 311, 312,  # ptrace, process_vm_*, kcmp
    155, 161, 165, 166, 272, 308, 428, 429, 430, 431, 432, 433, 442,  # mounts, chroot, namespaces
    90, 91, 92, 93, 94, 260, 268, 132, 235, 280, 452,  # chmod, chown, utimes: what Landlock does not watch
    188, 189, 190, 197, 198, 199, 303, 304,  # extended attributes, file handles
    248, 249, 250, 298, 321, 323, 425, 426, 427,  # kernel keys, perf, bpf, userfaultfd, io_uring
)  # fmt: skip


def enter(read: Sequence[Path], write: Sequence[Path]) -> None:
    """Shuts this process in, for good. Call it before numpy or any other library starts a thread.

    Args:
        read: Files that it may read, beside Python, its libraries and this project's code.
        write: Folders that it may write in.

    Raises:
        SightlineError: This system cannot do it; then nothing of the file is read.
    """
    if platform.machine() != "x86_64" or len(os.listdir("/proc/self/task")) != 1:
        raise SightlineError("a sandbox needs x86-64 and a process of one thread: convert the file to .safetensors elsewhere")
    for limit, value in (
        (resource.RLIMIT_DATA, MEMORY),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    libc = ctypes.CDLL(None, use_errno=True)
    _call(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    code = [ROOT / "sightline", ROOT / "tasks", Path(sys.prefix), Path(sys.base_prefix)]
    _limit_files(libc, [*map(Path, READABLE), *code, *read], write)
    _limit_calls(libc)


def _limit_files(libc: ctypes.CDLL, read: Sequence[Path], write: Sequence[Path]) -> None:
    version = _call(libc.syscall(_CREATE_RULESET, None, 0, _VERSION), "Landlock")
    handled = _RIGHTS[min(version, max(_RIGHTS))]
    attributes = struct.pack("=Q", handled)
    ruleset = _call(libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0), "Landlock")
    for path, rights in [*((path, _READ) for path in read), *((path, _WRITE) for path in write)]:
        if not path.exists():
            continue
        rights &= handled if path.is_dir() else handled & _FILE_RIGHTS
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        _call(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0), f"Landlock: {path}")
        os.close(descriptor)
    _call(libc.syscall(_RESTRICT_SELF, ruleset, 0), "Landlock")
    os.close(ruleset)


def _limit_calls(libc: ctypes.CDLL) -> None:
    """Refuses system calls; a call of another architecture, whose numbers differ, ends the process."""
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, _X86_64), (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL),
        (_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _UNKNOWN),  # its arguments cannot be looked at; glibc then takes clone
    ]  # fmt: skip
    for number in _REFUSED:
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    steps += [
        (_EQUAL, 0, 3, _CLONE), (_LOAD, 0, 0, _FIRST_ARGUMENT), (_ANY_BIT, 1, 0, _THREAD), (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]  # fmt: skip
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    header = struct.pack("@HP", len(steps), ctypes.addressof(program))
    _call(libc.prctl(_SET_SECCOMP, _FILTER, header, 0, 0), "seccomp")


def _call(result: int, what: str) -> int:
    """The result of a system call that worked."""
    if result < 0:
        reason = os.strerror(ctypes.get_errno())
        raise SightlineError(
            f"no sandbox here: {what}: {reason}: expected Linux 5.13 or later with Landlock and seccomp: "
            "convert the file to .safetensors where it was made"
        )
    return result
