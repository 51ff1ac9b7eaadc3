"""What a build gets from the host: cached downloads, a mirror of sources."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from local.downloads import Downloads
from local.errors import UsageError
from local.nspawn import Environment
from local.sources import with_mirror


def host_path(downloads: Downloads, environment: Environment, inside: str) -> Path:
    mount = environment.mounts[0]
    assert mount.source == downloads.directory
    return Path(inside.replace(mount.target, str(mount.source)))


def test_a_package_that_one_build_installs_is_there_for_the_next(tmp_path: Path) -> None:
    downloads = Downloads(tmp_path)
    first = downloads.environment("sp-1-a", {})
    archives = tmp_path / "work/sp-1-a/archives"
    (archives / "nginx_1_amd64.deb").write_text("package")
    keep = (tmp_path / "work/sp-1-a/keep").read_text().replace(first.mounts[0].target, str(tmp_path))
    subprocess.run(["sh", "-c", keep], input=f"{archives}/nginx_1_amd64.deb\n", text=True, check=True)
    (archives / "nginx_1_amd64.deb").unlink()  # apt-get clean
    downloads.environment("sp-1-b", {})
    assert (tmp_path / "work/sp-1-b/archives/nginx_1_amd64.deb").read_text() == "package"


def test_apt_is_pointed_at_a_directory_of_the_builds_own(tmp_path: Path) -> None:
    downloads = Downloads(tmp_path)
    environment = downloads.environment("sp-1-a", {})
    conf = host_path(downloads, environment, environment.variables["APT_CONFIG"]).read_text()
    assert 'Dir::Cache::Archives "/run/secure-proxy-host/work/sp-1-a/archives/";' in conf


def test_a_released_build_leaves_the_shared_packages(tmp_path: Path) -> None:
    downloads = Downloads(tmp_path)
    downloads.environment("sp-1-a", {})
    downloads.environment("sp-2-a", {})
    (tmp_path / "apt/x.deb").touch()
    downloads.release("sp-1-")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["sp-2-a"]
    assert (tmp_path / "apt/x.deb").exists()


def test_a_released_build_leaves_one_whose_name_goes_on(tmp_path: Path) -> None:
    downloads = Downloads(tmp_path)
    downloads.environment("sp-1-build-proxy", {})
    downloads.environment("sp-1-build-proxy-mock", {})
    downloads.release("sp-1-build-proxy")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["sp-1-build-proxy-mock"]


def test_the_hosts_authorities_are_trusted_by_every_tool(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.crt"
    bundle.touch()
    environment = Downloads(tmp_path / "cache").environment("u", {"SSL_CERT_FILE": str(bundle)})
    [mount] = [mount for mount in environment.mounts if mount.source == bundle]
    assert not mount.writable
    trusting = {name for name, value in environment.variables.items() if value == mount.target}
    assert {"SSL_CERT_FILE", "CURL_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"} <= trusting


def test_proxy_settings_are_passed_and_nothing_else_of_the_host(tmp_path: Path) -> None:
    host = {"https_proxy": "http://proxy:3128", "AWS_SECRET_ACCESS_KEY": "secret", "HOME": "/home/me"}
    variables = Downloads(tmp_path).environment("u", host).variables
    assert variables["https_proxy"] == "http://proxy:3128"
    assert not {"AWS_SECRET_ACCESS_KEY", "HOME"} & set(variables)


def mirror(tmp_path: Path) -> Path:
    real = tmp_path / "real/luajit2.git"
    real.mkdir(parents=True)
    (real / "HEAD").write_text("ref: refs/heads/main\n")
    directory = tmp_path / "mirror"
    (directory / "openresty").mkdir(parents=True)
    (directory / "openresty/luajit2").symlink_to(real)
    (directory / "openresty/no-repository").mkdir()
    return directory


def test_a_mirrors_repositories_are_mounted_where_they_really_are(tmp_path: Path) -> None:
    parameters, environment = with_mirror(
        {"SourceBaseUrl": f"file://{mirror(tmp_path)}", "Bridge": "lua"}, Environment()
    )
    [mount] = environment.mounts
    assert (mount.source, mount.writable) == (tmp_path / "real/luajit2.git", False)
    assert f"file://{mount.target}" == f"{parameters['SourceBaseUrl']}/openresty/luajit2"
    assert parameters["Bridge"] == "lua"


def test_git_is_let_read_repositories_of_another_owner(tmp_path: Path) -> None:
    _, environment = with_mirror({"SourceBaseUrl": f"file://{mirror(tmp_path)}"}, Environment(variables={"A": "b"}))
    assert environment.variables["A"] == "b"
    assert environment.variables["GIT_CONFIG_KEY_0"] == "safe.directory"


def test_another_url_stays_as_it_is() -> None:
    given = {"SourceBaseUrl": "https://github.com"}
    assert with_mirror(given, Environment()) == (given, Environment())


@pytest.mark.parametrize("url", ["file:///no/such/place", "file://elsewhere/tmp", "file:relative"])
def test_a_mirror_that_is_not_there_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="no such directory"):
        with_mirror({"SourceBaseUrl": url}, Environment())


def test_a_directory_without_repositories_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no owner/name repositories"):
        with_mirror({"SourceBaseUrl": f"file://{tmp_path}"}, Environment())
