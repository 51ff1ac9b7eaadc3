"""The judge of jails: a good one passes, and each way of spoiling it is named. Uses real programs of this machine."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.components.component_support import INSTALL, ROOTFS, load_program

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes devices and gives files away: needs root")

NGINX_ID = 54321


@pytest.fixture(scope="module")
def inspection() -> ModuleType:
    return load_program(INSTALL / "inspect_jail.py", "inspect_jail")


def linked_libraries(program: Path) -> list[Path]:
    """What the dynamic linker loads, by ldd: the way the build decides, not the way the inspection does."""
    output = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    return [Path(word) for line in output.splitlines() for word in line.split() if word.startswith("/")]


@pytest.fixture
def jail(tmp_path: Path) -> Path:
    root = tmp_path / "jail"
    program = root / "usr/sbin/nginx"
    for directory in ("usr/sbin", "usr/lib/lua", "dev", "etc/ssl/certs", "etc/nginx", "var/cache/nginx", "run"):
        (root / directory).mkdir(parents=True)
    shutil.copy("/usr/bin/openssl", program)
    libraries = linked_libraries(program)
    libraries += [next(path for path in libraries if path.name == "libc.so.6").with_name("libgcc_s.so.1")]
    for library in libraries:
        target = root / library.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    for name, (major, minor) in {"null": (1, 3), "random": (1, 8), "urandom": (1, 9)}.items():
        os.mknod(root / "dev" / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        (root / "dev" / name).chmod(0o666)
    for name in ("passwd", "group", "nsswitch.conf", "hosts"):
        text = (ROOTFS / "nginx/etc" / name).read_text()
        (root / "etc" / name).write_text(
            text.replace("@NGINX_UID@", str(NGINX_ID)).replace("@NGINX_GID@", str(NGINX_ID))
        )
    (root / "etc/ssl/certs/ca-certificates.crt").write_text("")
    (root / "etc/nginx/certs").mkdir(mode=0o700)
    (root / "etc/nginx/logs").mkdir()
    for path, mode in ((root / "etc/nginx/logs/http-error.log", 0o660), (root / "var/cache/nginx/proxy", 0o700)):
        if path.suffix:
            path.write_text("")
        else:
            path.mkdir()
        os.chown(path, NGINX_ID, NGINX_ID)
        path.chmod(mode)
    return root


def test_good_jail_has_no_problems(inspection: ModuleType, jail: Path) -> None:
    assert inspection.inspect(jail) == []


def test_program_exits_with_1_for_a_bad_jail_and_0_for_a_good_one(inspection: ModuleType, jail: Path) -> None:
    assert inspection.main(["--jail", str(jail)]) == 0
    (jail / "etc/shadow").write_text("")
    assert inspection.main(["--jail", str(jail)]) == 1


def test_directory_that_is_no_jail_is_said_to_be_none(inspection: ModuleType, tmp_path: Path) -> None:
    assert "is not a jail" in inspection.inspect(tmp_path)[0]


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def library_of(jail: Path, name: str) -> Path:
    return next(jail.rglob(name))


def replace_device(path: Path, device: int) -> None:
    path.unlink()
    os.mknod(path, stat.S_IFCHR | 0o666, device)


SPOILERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "setuid program": (lambda jail: (jail / "usr/sbin/nginx").chmod(0o4755), "setuid"),
    "setgid library": (lambda jail: library_of(jail, "libc.so.6").chmod(0o2755), "setuid or setgid"),
    "shadow": (lambda jail: write(jail / "etc/shadow", "root::"), "/etc/shadow"),
    "shell": (lambda jail: shutil.copy("/bin/sh", jail / "usr/sbin/sh"), "/usr/sbin/sh"),
    "shell by link": (lambda jail: (jail / "usr/sbin/bash").symlink_to("nginx"), "/usr/sbin/bash"),
    "other program": (lambda jail: shutil.copy("/bin/true", jail / "usr/sbin/true"), "needed by nothing"),
    "script": (lambda jail: write(jail / "usr/sbin/run", "#!/bin/sh\n", 0o755), "/usr/sbin/run"),
    "stray library": (
        lambda jail: shutil.copy(library_of(jail, "libc.so.6"), jail / "usr/lib/libstray.so.1"),
        "libstray.so.1 is needed by nothing",
    ),
    "missing library": (lambda jail: library_of(jail, "libcrypto.so.3").unlink(), "libcrypto.so.3 is needed"),
    "missing unwinder": (lambda jail: library_of(jail, "libgcc_s.so.1").unlink(), "libgcc_s.so.1 is needed"),
    "missing linker": (lambda jail: library_of(jail, "ld-linux*").unlink(), "is needed and missing"),
    "library of a plugin": (
        lambda jail: shutil.copy(shutil.which("systemctl") or "", jail / "usr/lib/lua/plugin.so"),
        "is needed and missing",
    ),
    "writable directory": (lambda jail: (jail / "run").chmod(0o777), "/run has mode 0777"),
    "writable file": (lambda jail: (jail / "etc/hosts").chmod(0o664), "/etc/hosts has mode 0664"),
    "foreign owner": (lambda jail: os.chown(jail / "usr/sbin/nginx", NGINX_ID, 0), "/usr/sbin/nginx belongs"),
    "configuration of nginx's": (lambda jail: os.chown(jail / "etc/nginx", NGINX_ID, 0), "/etc/nginx belongs"),
    "log directory of nginx's": (
        lambda jail: os.chown(jail / "etc/nginx/logs", NGINX_ID, 0),
        "/etc/nginx/logs belongs",
    ),
    "log of root's": (lambda jail: os.chown(jail / "etc/nginx/logs/http-error.log", 0, 0), "not to nginx"),
    "log for all to read": (lambda jail: (jail / "etc/nginx/logs/http-error.log").chmod(0o664), "no access"),
    "certificates for all to list": (lambda jail: (jail / "etc/nginx/certs").chmod(0o755), "only root may read"),
    "key for all to read": (lambda jail: write(jail / "etc/nginx/certs/serverkey.pem", ""), "only root may read"),
    "further account": (
        lambda jail: write(jail / "etc/passwd", (jail / "etc/passwd").read_text() + "joe:x:1:1::/:/sbin/nologin\n"),
        "joe",
    ),
    "login shell": (
        lambda jail: write(jail / "etc/passwd", (jail / "etc/passwd").read_text().replace("/sbin/nologin", "/bin/sh")),
        "the shell /bin/sh",
    ),
    "further device": (
        lambda jail: os.mknod(jail / "dev/mem", stat.S_IFCHR | 0o600, os.makedev(1, 1)),
        "/dev/mem is a device",
    ),
    "device in disguise": (
        lambda jail: replace_device(jail / "dev/null", os.makedev(1, 1)),
        "/dev/null is a device",
    ),
    "device elsewhere": (
        lambda jail: os.mknod(jail / "etc/null", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
        "/etc/null is a device",
    ),
    "missing device": (lambda jail: (jail / "dev/urandom").unlink(), "/dev/urandom is missing"),
    "missing authorities": (
        lambda jail: (jail / "etc/ssl/certs/ca-certificates.crt").unlink(),
        "ca-certificates.crt is missing",
    ),
}


@pytest.mark.parametrize("kind", SPOILERS)
def test_spoiled_jail_is_named_for_what_is_wrong(kind: str, inspection: ModuleType, jail: Path) -> None:
    spoil, words = SPOILERS[kind]
    spoil(jail)
    problems = inspection.inspect(jail)
    assert any(words in problem for problem in problems), problems
