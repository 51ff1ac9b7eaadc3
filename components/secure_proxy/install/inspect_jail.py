#!/usr/bin/env python3
"""Judge a jail: which files are in it, whose they are, and who may write them.

The build decides what to copy by asking the dynamic linker (ldd). This program reads the ELF headers instead, so the
two can disagree. It inspects any directory, of this machine or of an image that is not running.

Standard library alone, Python 3.9 or newer: it runs on machine images as they come.
"""

from __future__ import annotations

import argparse
import os
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

# Loaded by name at run time: the C library unwinds a thread that ends with it.
LOADED_BY_NAME = frozenset({"libgcc_s.so.1"})
DEVICES = {"null": (1, 3), "random": (1, 8), "urandom": (1, 9)}
FORBIDDEN_NAMES = frozenset(
    {"shadow", "gshadow", "sh", "ash", "bash", "dash", "zsh", "ksh", "csh", "tcsh", "fish", "busybox", "sudo", "su"}
)
PROGRAM = Path("usr/sbin/nginx")
# Loaded explicitly, by load_module and by Lua's require.
PLUGIN_DIRECTORIES = (Path("usr/lib/nginx/modules"), Path("usr/lib/lua"))

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5


class ElfFile:
    """The few facts of a 64-bit little-endian ELF file that dynamic loading depends on.

    `needed`: names of the libraries it asks for; `interpreter`: path of the dynamic linker, or None for a library.
    Raises ValueError for any other file. Layout: System V ABI, chapters 4 and 5.
    """

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        if data[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{path} is not a 64-bit little-endian ELF file")
        offset, entry_size, entries = struct.unpack_from("<Q", data, 32) + struct.unpack_from("<HH", data, 54)
        loads: list[tuple[int, int, int]] = []
        dynamic = b""
        self.interpreter: str | None = None
        for index in range(entries):
            kind, _, start, address, _, size = struct.unpack_from("<IIQQQQ", data, offset + index * entry_size)
            if kind == PT_LOAD:
                loads.append((address, start, size))
            elif kind == PT_DYNAMIC:
                dynamic = data[start : start + size]
            elif kind == PT_INTERP:
                self.interpreter = data[start : start + size].rstrip(b"\0").decode()

        tags = list(_dynamic_entries(dynamic))
        strings = next((_file_offset(loads, value) for tag, value in tags if tag == DT_STRTAB), 0)
        self.needed = [_text(data, strings + value) for tag, value in tags if tag == DT_NEEDED]


def _dynamic_entries(dynamic: bytes) -> Iterator[tuple[int, int]]:
    for tag, value in struct.iter_unpack("<qQ", dynamic[: len(dynamic) // 16 * 16]):
        if tag == DT_NULL:
            return
        yield tag, value


def _file_offset(loads: Iterable[tuple[int, int, int]], address: int) -> int:
    for load_address, start, size in loads:
        if load_address <= address < load_address + size:
            return start + address - load_address
    raise ValueError(f"address {address:#x} is in no loaded segment")


def _text(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def walk(jail: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every entry of the jail, relative to it; links are not followed, other mounts are entered."""
    for directory, subdirectories, files in os.walk(jail):
        for name in sorted(subdirectories + files):
            path = Path(directory) / name
            yield path.relative_to(jail), path.lstat()


def accounts(jail: Path, name: str) -> dict[str, list[str]]:
    """The lines of the jail's passwd or group, by their first field."""
    lines = (jail / "etc" / name).read_text(encoding="utf-8").splitlines()
    return {line.split(":")[0]: line.split(":") for line in lines if line}


def library_problems(jail: Path, elf_files: Iterable[Path]) -> list[str]:
    """The shared libraries must be exactly those that the program and its plugins load, directly or not."""
    files = list(elf_files)
    libraries = {path.name: path for path in files if path != PROGRAM and not is_plugin(path)}
    required = set(LOADED_BY_NAME)
    queue = [path for path in files if path == PROGRAM or is_plugin(path)]
    queue += [libraries[name] for name in LOADED_BY_NAME if name in libraries]
    while queue:
        elf = ElfFile(jail / queue.pop())
        names = set(elf.needed)
        if elf.interpreter:
            names.add(Path(elf.interpreter).name)
        queue += [libraries[name] for name in names - required if name in libraries]
        required |= names
    missing = [f"library {name} is needed and missing" for name in sorted(required - set(libraries))]
    stray = [f"/{libraries[name]} is needed by nothing" for name in sorted(set(libraries) - required)]
    return missing + stray


def is_plugin(path: Path) -> bool:
    return any(directory in path.parents for directory in PLUGIN_DIRECTORIES)


def content_problems(path: Path, status: os.stat_result, jail: Path) -> Iterator[str]:
    """What a single entry must never be: privileged, a shell, a device of another kind, a program that is not NGINX."""
    mode = status.st_mode
    if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
        yield f"/{path} is setuid or setgid"
    if path.name in FORBIDDEN_NAMES:
        yield f"/{path} must not be in a jail"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        if stat.S_ISBLK(mode) or DEVICES.get(path.name) != device or path.parent != Path("dev"):
            yield f"/{path} is a device that does not belong here"
    if stat.S_ISREG(mode) and mode & 0o111 and not is_elf(jail / path):
        yield f"/{path} is executable and is neither program nor library"


def access_problems(path: Path, status: os.stat_result, configuration: Path, nginx: tuple[int, int]) -> Iterator[str]:
    """Root owns everything; `nginx` has its log files and what is inside the cache, and nothing else."""
    if stat.S_ISLNK(status.st_mode):
        return
    owner = (status.st_uid, status.st_gid)
    is_log = path.parent == configuration / "logs" and stat.S_ISREG(status.st_mode)
    is_cache = Path("var/cache/nginx") in path.parents
    if is_log or is_cache:
        if owner != nginx:
            yield f"/{path} belongs to {owner[0]}:{owner[1]}, not to nginx"
        if status.st_mode & 0o007:
            yield f"/{path} has mode {status.st_mode & 0o7777:04o}; others must have no access"
        return
    if owner != (0, 0):
        yield f"/{path} belongs to {owner[0]}:{owner[1]}, not to root"
    if not stat.S_ISCHR(status.st_mode) and status.st_mode & 0o022:
        yield f"/{path} has mode {status.st_mode & 0o7777:04o}; only root may write it"
    in_certificates = configuration / "certs" in (path, *path.parents)
    if in_certificates and status.st_mode & 0o077:
        yield f"/{path} has mode {status.st_mode & 0o7777:04o}; only root may read it"


def account_problems(jail: Path) -> Iterator[str]:
    passwd = accounts(jail, "passwd")
    if set(passwd) != {"root", "nginx"}:
        yield f"/etc/passwd has {', '.join(sorted(passwd))}; only root and nginx belong there"
    for name, fields in passwd.items():
        if fields[-1] != "/sbin/nologin":
            yield f"/etc/passwd gives {name} the shell {fields[-1]}"
    for name in ("etc/group", "etc/nsswitch.conf", "etc/ssl/certs/ca-certificates.crt", str(PROGRAM)):
        if not (jail / name).is_file():
            yield f"/{name} is missing"


def inspect(jail: Path, configuration: Path = Path("/etc/nginx")) -> list[str]:
    """Everything that is wrong with the jail, one sentence each; empty when it is as it should be.

    `jail` is its root as seen from here; `configuration` is the configuration directory inside it.
    """
    if not (jail / "etc/passwd").is_file():
        return [f"{jail} is not a jail: it has no etc/passwd"]
    inside = configuration.relative_to("/")
    problems = list(account_problems(jail))
    nginx_entry = accounts(jail, "passwd").get("nginx", ["", "", "-1", "-1"])
    nginx = (int(nginx_entry[2]), int(nginx_entry[3]))
    elf_files = []
    devices = set()
    for path, status in walk(jail):
        problems += content_problems(path, status, jail)
        problems += access_problems(path, status, inside, nginx)
        if stat.S_ISCHR(status.st_mode):
            devices.add(path.name)
        if stat.S_ISREG(status.st_mode) and is_elf(jail / path):
            elf_files.append(path)
    problems += [f"/dev/{name} is missing" for name in sorted(set(DEVICES) - devices)]
    return problems + library_problems(jail, elf_files)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="inspect-jail", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--jail", type=Path, default=Path("/nginx"), help="root of the jail (default %(default)s)")
    parser.add_argument(
        "--configuration", type=Path, default=Path("/etc/nginx"), help="inside the jail (default %(default)s)"
    )
    arguments = parser.parse_args(argv)
    problems = inspect(arguments.jail, arguments.configuration)
    for problem in problems:
        print(f"inspect-jail: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
