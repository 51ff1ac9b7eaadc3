"""The operator's own certificate in place of the self-signed one: docs/security.md, "Your own certificate and name"."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tests.proxy.auth.authority import Authority
from tests.proxy.auth.conftest import EXTERNAL, SettingMaker
from tests.proxy.auth.proxy import AuthProxy

PAIR = (("servercert.pem", ""), ("serverkey.pem", "-key"))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path, "operator")
    made.issue("proxy", "/CN=proxy", "IP:127.0.0.1")
    made.issue("other", "/CN=other", "IP:127.0.0.1")
    return made


def put(proxy: AuthProxy, name: str, text: str) -> None:
    """Place a file as the page says: root's, for root alone, by a rename."""
    fresh = proxy.configuration / f"certs/{name}.new"
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(proxy.configuration / "certs" / name)


def test_it_is_shown_from_a_reload_on_and_kept_at_the_next_boot(
    make_setting: SettingMaker, authority: Authority
) -> None:
    context = ssl.create_default_context(cafile=str(authority.directory / "ca.pem"))
    with make_setting(EXTERNAL) as made:
        proxy = made.proxy
        with pytest.raises(ssl.SSLCertVerificationError):
            proxy.connect(proxy.wss_port, context)
        for name, suffix in PAIR:
            put(proxy, name, authority.pem(f"proxy{suffix}"))
        proxy.configure()
        proxy.renew_workers()
        for port in (proxy.wss_port, proxy.oauth_port):
            proxy.connect(port, context).close()


def test_a_key_that_does_not_fit_is_refused(make_setting: SettingMaker, authority: Authority) -> None:
    with make_setting(EXTERNAL) as made:
        put(made.proxy, "servercert.pem", authority.pem("proxy"))
        put(made.proxy, "serverkey.pem", authority.pem("other-key"))
        with pytest.raises(Exception, match="key values mismatch"):
            made.proxy.configure()
