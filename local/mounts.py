"""What is mounted where (proc_pid_mountinfo(5))."""

from __future__ import annotations

from pathlib import Path

from local.processes import run_tool

_MOUNTINFO = Path("/proc/self/mountinfo")


def mount_points(below: Path, mountinfo: Path = _MOUNTINFO) -> list[Path]:
    """What is mounted on `below` or below it, deepest first."""
    found = [Path(_unescape(line.split()[4])) for line in mountinfo.read_text(encoding="utf-8").splitlines()]
    inside = [path for path in found if path == below or below in path.parents]
    return sorted(inside, key=lambda path: len(path.parts), reverse=True)


def unmount_below(path: Path) -> None:
    """Unmount all that is mounted on `path` or below it, also what is in use. Raises `LocalError`."""
    for point in mount_points(path):
        run_tool(["umount", "--lazy", str(point)], what="unmounting")


def _unescape(text: str) -> str:
    """Undo the kernel's octal escapes of blanks and backslashes."""
    for escaped, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escaped, plain)
    return text
