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
# What the libraries on board verify: lua-resty-openidc the RS family, OpenSSL through lua-resty-openssl the others.
_ALGORITHMS = choice("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
_RESERVED_ROUTE = "/.secure-proxy"
# Numbers in tokens are read as doubles, which tell all integers apart up to here (RFC 8259 section 6).
_LARGEST_INTEGER = 2**53 - 1

Scalar = str | int | bool


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


def _parse_claim_value(value: object) -> Scalar:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > _LARGEST_INTEGER:
            raise RefusedError("is a number that the proxy cannot tell from its neighbours")
        return value
    return str(_CLAIM_TEXT.parse(value))


def _parse_route_path(value: object) -> str:
    path = str(_ROUTE_TEXT.parse(value))
    if "//" in path or "/./" in f"{path}/" or "/../" in f"{path}/":
        raise RefusedError("is a path that NGINX would write in another way")
    if path == _RESERVED_ROUTE or path.startswith(f"{_RESERVED_ROUTE}/"):
        raise RefusedError("is where clients ask about their sessions")
    return path


def _pem(label: str) -> Kind:
    block = rf"-----BEGIN {label}-----\n(?:[A-Za-z0-9+/=]{{1,76}}\n)+-----END {label}-----\n?"
    return text(
        rf"(?:{block})+", f"PEM text of one or more `{label}` blocks", name="PEM text", wrong="is not such PEM text"
    )


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
    if key.lower().startswith("secure-proxy:"):
        raise RefusedError("begins with a word by which this project finds what is its own")
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
SCOPE = text(
    r"[!#-&(-\[\]-~]{1,256}",
    "1 to 256 printable characters without space, quotes and backslash (RFC 6749 section 3.3)",
    name="scope",
)
CLAIM = text(r"[A-Za-z0-9_.:/-]{1,128}", "1 to 128 letters, digits and `_.:/-`", name="claim name")
_CLAIM_TEXT = text(r"[ !#-&(-\[\]-~]{0,256}", "")
CLAIM_VALUE = Kind(
    "string, number or boolean",
    "at most 256 printable ASCII characters without quotes and backslash, a whole number from -(2^53 - 1) to 2^53 - 1, "
    "`true` or `false`",
    _parse_claim_value,
)
COOKIE = text(r"[A-Za-z0-9_]{0,64}", "at most 64 letters, digits and `_`", name="cookie name")
_ROUTE_TEXT = text(r"/[A-Za-z0-9._~/-]{0,255}", "")
ROUTE_PATH = Kind(
    "path", f"`/` and letters, digits and `._~/-`, as NGINX writes it, not below `{_RESERVED_ROUTE}`", _parse_route_path
)
CERTIFICATES = _pem("CERTIFICATE")
REVOCATION_LISTS = _pem("X509 CRL")
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
        "1 to 128 letters, digits and `+-=._:/`, not beginning with `aws:` or `secure-proxy:`",
        _parse_tag_key,
    ),
    text(r"[A-Za-z0-9 +=._:/@-]{0,256}", "at most 256 letters, digits, spaces and `+-=._:/@`"),
    at_most=40,
)
