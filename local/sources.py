"""A local mirror of source repositories, given to a build that cannot see the host's files.

A component parameter with a `file:///DIRECTORY` URL means `DIRECTORY/owner/name` on the host. Each repository found
there is bind-mounted read-only into the build root, and the executor is given another value for the parameter; the
document stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from local.errors import UsageError
from local.nspawn import Environment, Mount

_INSIDE = "/run/secure-proxy-sources"
PARAMETER = "SourceBaseUrl"


def mirror_directory(url: str) -> Path | None:
    """The directory of a `file://` URL; None for other URLs. Raises `UsageError` if there is no such directory."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    directory = Path(unquote(parts.path))
    if parts.netloc not in ("", "localhost") or not directory.is_absolute() or not directory.is_dir():
        raise UsageError(f"--source-base-url {url}: no such directory; give file:///DIRECTORY that holds owner/name")
    if not _repositories(directory):
        raise UsageError(f"--source-base-url {url}: {directory} holds no owner/name repositories")
    return directory


def mirror_environment(directory: Path) -> Environment:
    """The mounts of all repositories below `directory`, and leave for git to read them whoever owns them."""
    mounts = tuple(
        Mount(repository.resolve(), f"{_INSIDE}/{repository.parent.name}/{repository.name}")
        for repository in _repositories(directory)
    )
    trust = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    return Environment(mounts, trust)


def with_mirror(parameters: Mapping[str, str], environment: Environment) -> tuple[dict[str, str], Environment]:
    """Parameters and environment for the build root: as given, or turned to the mirror where the URL is a file's."""
    directory = mirror_directory(parameters.get(PARAMETER, ""))
    if directory is None:
        return dict(parameters), environment
    extra = mirror_environment(directory)
    merged = Environment(environment.mounts + extra.mounts, {**environment.variables, **extra.variables})
    return {**parameters, PARAMETER: f"file://{_INSIDE}"}, merged


def _repositories(directory: Path) -> list[Path]:
    """`owner/name` directories with a git repository, bare or not."""
    return sorted(
        path
        for path in directory.glob("*/*")
        if path.is_dir() and ((path / "HEAD").is_file() or (path / ".git").exists())
    )
