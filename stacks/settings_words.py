"""Kinds of settings that are names, paths and tags: words that need no quoting in shell, NGINX or AWS."""

from __future__ import annotations

from pathlib import PurePosixPath

from stacks.settings_types import Kind, RefusedError, choice, parse_integer, parse_text, string_map, text

_PATH_TEXT = text(r"(?:/[A-Za-z0-9][A-Za-z0-9._-]*)+", "", wrong="is not an absolute path of plain words")
_PATH_FORM = "an absolute path whose parts begin with a letter or digit and go on with these, `.`, `_` and `-`"

# Directories that the system owns: a jail there, or above, would shadow or expose it.
_TREES = tuple(
    f"/{name}" for name in ("bin", "boot", "dev", "lib", "lib64", "proc", "run", "sbin", "sys", "tmp", "usr")
)
_SYSTEM_TREES = (*_TREES, "/etc")
_SYSTEM_DIRECTORIES = ("/home", "/media", "/mnt", "/opt", "/root", "/srv", "/var", "/var/lib", "/var/log")
# Directories inside the jail that hold what the image build puts there.
_JAIL_TREES = (*_TREES, "/etc/ssl", "/etc/systemd", "/var/cache")
_JAIL_DIRECTORIES = ("/etc", "/var")

_FORGEABLE_ALGORITHMS = ("none", "hs")
# lua-resty-openidc 1.8 looks keys up for the RS family alone; other signatures would fail at every handshake.
_ALGORITHMS = choice("RS256", "RS384", "RS512")


def _parse_path(value: object, trees: tuple[str, ...], directories: tuple[str, ...]) -> str:
    path = str(_PATH_TEXT.parse(value))
    if path in directories or any(PurePosixPath(path).is_relative_to(tree) for tree in trees):
        raise RefusedError("is a directory with another purpose")
    return path


def _parse_worker_processes(value: object) -> str:
    if value == "auto":
        return "auto"
    number = parse_integer(value)
    if not 1 <= number <= 512:
        raise RefusedError("is out of range")
    return str(number)


def _parse_algorithm(value: object) -> str:
    name = parse_text(value)
    if name.lower().startswith(_FORGEABLE_ALGORITHMS):
        raise RefusedError("would let others than the issuer sign tokens")
    return str(_ALGORITHMS.parse(name))


def _parse_ssm_prefix(value: object) -> str:
    prefix = parse_text(value)
    if prefix.lower().startswith(("aws", "ssm")):
        raise RefusedError("begins with a word that Systems Manager reserves")
    return str(_SSM_TEXT.parse(prefix))


def _parse_elb_prefix(value: object) -> str:
    prefix = parse_text(value)
    if prefix.startswith("internal-"):
        raise RefusedError("begins with a word that Elastic Load Balancing reserves")
    return str(_ELB_TEXT.parse(prefix))


def _parse_log_group(value: object) -> str:
    name = parse_text(value)
    if name.startswith("aws/"):
        raise RefusedError("begins with a word that CloudWatch reserves")
    return str(_LOG_GROUP_TEXT.parse(name))


def _parse_tag_key(value: object) -> str:
    key = parse_text(value)
    if key.lower().startswith("aws:"):
        raise RefusedError("begins with a word that AWS reserves")
    return str(_TAG_KEY_TEXT.parse(key))


_SSM_TEXT = text(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "")
_ELB_TEXT = text(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,18}[A-Za-z0-9])?", "")
_LOG_GROUP_TEXT = text(r"[A-Za-z0-9_./-]{1,256}", "")
_TAG_KEY_TEXT = text(r"[A-Za-z0-9+=._:/-]{1,128}", "")

JAIL_PATH = Kind(
    "path",
    f"{_PATH_FORM}; not a directory of the system, nor below {', '.join(_SYSTEM_TREES)}",
    lambda value: _parse_path(value, _SYSTEM_TREES, _SYSTEM_DIRECTORIES),
)
PROXY_PATH = Kind(
    "path",
    f"{_PATH_FORM}; neither {', '.join(_JAIL_DIRECTORIES)} nor below {', '.join(_JAIL_TREES)}",
    lambda value: _parse_path(value, _JAIL_TREES, _JAIL_DIRECTORIES),
)
WORKER_PROCESSES = Kind("integer or `auto`", "`auto` or a whole number from 1 to 512", _parse_worker_processes)
ALGORITHM = Kind("algorithm", _ALGORITHMS.allowed, _parse_algorithm)
AUDIENCE = text(
    r"[A-Za-z0-9][A-Za-z0-9._~/:@+,=-]{0,255}",
    "1 to 256 letters, digits and `._~/:@+,=-`, beginning with a letter or digit",
    name="audience",
)
SSM_PREFIX = Kind(
    "name",
    "1 to 64 letters, digits, `_`, `.` and `-`, beginning with a letter or digit, not with `aws` or `ssm`",
    _parse_ssm_prefix,
)
ELB_PREFIX = Kind(
    "name",
    "1 to 20 letters, digits and `-` (12 of the 32 that AWS allows are for endings), no `-` at either end, "
    "not beginning with `internal-`",
    _parse_elb_prefix,
)
LOG_GROUP = Kind("name", "1 to 256 letters, digits, `_`, `-`, `.` and `/`, not beginning with `aws/`", _parse_log_group)
TAGS = string_map(
    Kind(
        "tag key",
        "1 to 128 letters, digits and `+-=._:/`, not beginning with `aws:`",
        _parse_tag_key,
    ),
    text(r"[A-Za-z0-9 +=._:/@-]{0,256}", "at most 256 letters, digits, spaces and `+-=._:/@`"),
    at_most=40,
)
