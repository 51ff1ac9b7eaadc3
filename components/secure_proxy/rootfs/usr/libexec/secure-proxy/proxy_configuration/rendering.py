"""Templates to configuration, judged by `nginx -t` in the jail before it is put in place."""

from __future__ import annotations

import calendar
import json
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proxy_configuration.certificate import make_certificate
from proxy_configuration.commands import output, run
from proxy_configuration.errors import ConfigurationError
from proxy_configuration.files import has_content, sync
from proxy_configuration.policy import Policy
from proxy_configuration.values import VARIABLE, milliseconds

PUBLIC_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
OIDC_AUTHORITIES = "oidc.pem"
APPLICATION_AUTHORITIES = "application.pem"
# Worker shutdown is forced this long after the drain time, so that close handshakes can finish.
SHUTDOWN_MARGIN_MS = 5000


def runtime(values: Mapping[str, str], policy: Policy) -> dict[str, Any]:
    """What the Lua code reads (`secure_proxy.config`)."""
    return {
        "backend": {
            "host": values["BACKEND_HOST"],
            "wss_port": int(values["WSS_BACKEND_PORT"]),
            "proxy_protocol": policy.application.proxy_protocol,
            "tls": policy.application.tls,
            "server_name": policy.application.server_name,
            "client_certificate": policy.application.client_certificate,
        },
        "timeouts_ms": {
            "connect": milliseconds(values["CONNECT_TIMEOUT"], "CONNECT_TIMEOUT"),
            "read": milliseconds(values["READ_TIMEOUT"], "READ_TIMEOUT"),
            "send": milliseconds(values["SEND_TIMEOUT"], "SEND_TIMEOUT"),
        },
        "authentication": policy.authentication,
        "limits": policy.limits,
    }


def render(template: str, variables: Mapping[str, str], name: str) -> str:
    """Substitute `${NAME}`; a name that has no value is an error, not an empty string."""

    def value(match: re.Match[str]) -> str:
        try:
            return variables[match.group(1)]
        except KeyError:
            raise ConfigurationError(f"template {name} uses ${{{match.group(1)}}}, which nothing defines") from None

    return VARIABLE.sub(value, template)


class Jail:
    """The configuration directory as seen from outside (`host`) and inside (`inside`) the jail."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.root = Path(values["JAIL_BASE_DIR"])
        self.inside = Path(values["PROXY_BASE_DIR"])
        self.host = self.root / self.inside.relative_to("/")
        self.templates = self.host / "templates"

    def names(self) -> list[Path]:
        found = sorted(path.relative_to(self.templates) for path in self.templates.rglob("*.template"))
        if not found:
            raise ConfigurationError(f"{self.templates} has no templates; the image is incomplete")
        return found

    def write_candidate(self, candidate: Path, variables: Mapping[str, str], document: Mapping[str, Any]) -> list[Path]:
        """Render everything into `candidate`; returns the written files relative to it."""
        written = []
        for name in self.names():
            target = name.with_suffix("")
            text = render((self.templates / name).read_text(encoding="utf-8"), variables, str(name))
            (candidate / target).parent.mkdir(parents=True, exist_ok=True)
            (candidate / target).write_text(text, encoding="utf-8")
            written.append(target)
        (candidate / "runtime.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        written.append(Path("runtime.json"))
        for path in {candidate / name for name in written} | {(candidate / name).parent for name in written}:
            path.chmod(0o755 if path.is_dir() else 0o644)
        return written

    def test(self, configuration: Path) -> None:
        """`nginx -t` inside the jail."""
        inside = "/" + str(configuration.relative_to(self.root))
        run(["chroot", str(self.root), "/usr/sbin/nginx", "-t", "-q", "-c", inside], "nginx -t")


def candidate_variables(
    values: Mapping[str, str], policy: Policy, *, directory: str, names: str, trust: str | None = None
) -> dict[str, str]:
    """What the templates may name.

    `directory` is that of the secrets, `trust` that of the authorities (beside it unless given), inside the jail.
    """
    trust = trust or f"{Path(directory).parent}/trust"
    drain_ms = policy.limits["drain_timeout_ms"] + SHUTDOWN_MARGIN_MS
    oauth = policy.oauth_server
    scheme = "https" if oauth.tls else "http"
    return {
        **{key: value for key, value in values.items() if key != "POLICY"},
        "RESOLVERS": names,
        "AUTHENTICATION_PROVIDER": policy.authentication["provider"],
        "CLIENT_CERTIFICATES": _client_certificates(policy),
        "OAUTH_SCHEME": scheme,
        "OAUTH_SERVER": f"{scheme}-client" if oauth.client_certificate else scheme,
        "OAUTH_SERVER_NAME": oauth.server_name,
        "OIDC_TRUST": f"{trust}/{OIDC_AUTHORITIES}" if oauth.authorities else PUBLIC_AUTHORITIES,
        "APPLICATION_TRUST": (
            f"{trust}/{APPLICATION_AUTHORITIES}" if policy.application.authorities else PUBLIC_AUTHORITIES
        ),
        "TRUST_DIRECTORY": trust,
        "HEADER_TIMEOUT": f"{policy.limits['header_timeout_ms']}ms",
        "MAX_REQUEST_BODY": str(policy.limits["max_request_body"]),
        "WORKER_SHUTDOWN_TIMEOUT": f"{drain_ms}ms",
        "CERTIFICATE_DIRECTORY": directory,
    }


def _client_certificates(policy: Policy) -> str:
    if policy.authentication["client_certificates"] == "off":
        return "off"
    return "crl" if policy.revocation_lists else "on"


def write_trust(directory: Path, policy: Policy) -> None:
    """The authorities and revocation lists of the policy, one file each; public, so readable by everyone."""
    directory.mkdir(mode=0o755)
    for name, texts in (
        ("clients.pem", policy.client_authorities),
        ("revoked.pem", policy.revocation_lists),
        (OIDC_AUTHORITIES, policy.oauth_server.authorities),
        (APPLICATION_AUTHORITIES, policy.application.authorities),
    ):
        (directory / name).write_text("\n".join(text.strip() for text in texts) + "\n", encoding="ascii")
        (directory / name).chmod(0o644)


def check_revocation_lists(directory: Path, policy: Policy) -> None:
    """None of them may have ended: NGINX would refuse every client's certificate, and say so to nobody."""
    for number, text in enumerate(policy.revocation_lists):
        name = f"POLICY.authentication.clientCertificates.revocationLists[{number}]"
        for block in text.split("-----END X509 CRL-----")[:-1]:
            file = directory / "list.pem"
            file.write_text(f"{block}-----END X509 CRL-----\n", encoding="ascii")
            said = output(["openssl", "crl", "-noout", "-nextupdate", "-in", str(file)], name).strip()
            file.unlink()
            end = said.partition("=")[2]
            if end != "NONE" and _seconds(end) <= time.time():
                raise ConfigurationError(f"{name} ended at {end}; allowed: one that its authority has renewed")


def _seconds(text: str) -> int:
    """A time as OpenSSL prints it, in seconds since 1970."""
    return calendar.timegm(time.strptime(text, "%b %d %H:%M:%S %Y GMT"))


def write_operator_key(directory: Path) -> None:
    """Make the key of the command that lists and ends sessions, on first boot; readable by root alone."""
    path = directory / "operator.key"
    if has_content(path):
        return
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(secrets.token_hex(32), encoding="ascii")
    sync(fresh)
    fresh.replace(path)
    sync(directory)


def check_client_certificates(directory: Path, policy: Policy) -> None:
    """The files that the policy relies on: secrets don't travel in user data, so the operator puts them there."""
    for name, wanted in (
        ("backend", policy.application.client_certificate),
        ("oidc", policy.oauth_server.client_certificate),
    ):
        for path in (directory / f"{name}-client.pem", directory / f"{name}-client-key.pem"):
            if wanted and not path.exists():
                raise ConfigurationError(f"the policy asks for a client certificate, and {path} does not exist")


def configure(values: Mapping[str, str], *, names: str, install: bool) -> None:
    """Render, judge, and put in place when `install`; otherwise everything made here is removed again."""
    policy = Policy(values["POLICY"], values)
    jail = Jail(values)
    with tempfile.TemporaryDirectory(dir=jail.host, prefix=".candidate-") as name:
        candidate = Path(name)
        candidate.chmod(0o755)
        certificates = jail.host / "certs" if install else candidate / "certs"
        certificates.mkdir(mode=0o700, exist_ok=True)
        check_client_certificates(certificates, policy)
        make_certificate(certificates, values["CERTIFICATE_NAMES"].split(","))
        write_operator_key(certificates)
        check_revocation_lists(candidate, policy)
        write_trust(candidate / "trust", policy)
        # modules.conf belongs to the image: it says which modules this build loads.
        shutil.copy2(jail.host / "modules.conf", candidate / "modules.conf")
        document = runtime(values, policy)

        def variables(trust: Path) -> dict[str, str]:
            inside = "/" + str(certificates.relative_to(jail.root))
            return candidate_variables(
                values, policy, directory=inside, trust="/" + str(trust.relative_to(jail.root)), names=names
            )

        # The Lua code is told where its files are, so the candidate must name itself while it is judged.
        base = "/" + str(candidate.relative_to(jail.root))
        (candidate / "logs").mkdir()
        jail.write_candidate(candidate, {**variables(candidate / "trust"), "PROXY_BASE_DIR": base}, document)
        jail.test(candidate / "nginx.conf")
        if not install:
            return
        written = jail.write_candidate(candidate, variables(jail.host / "trust"), document)
        written += [path.relative_to(candidate) for path in (candidate / "trust").iterdir()]
        for path in written:
            directory = (jail.host / path).parent
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o755)  # whatever the umask: authorities and revocation lists are for everyone to read
            (candidate / path).replace(jail.host / path)
