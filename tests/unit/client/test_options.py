"""The command line: wrong usage ends with 2, a message that names the option, and nothing sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.cli import main
from client.options import parse

E2E = ["e2e", "--host", "proxy.example"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "COMMAND"),
        (["nonsense"], "nonsense"),
        (["e2e"], "--host"),
        ([*E2E, "extra"], "extra"),
        ([*E2E, "--bogus"], "--bogus"),
        ([*E2E, "--time", "5"], "--time"),
        (["e2e", "--host", ""], "--host"),
        (["e2e", "--host", "https://proxy.example"], "--host"),
        (["e2e", "--host", "proxy.example:10000"], "--host"),
        (["e2e", "--host", "proxy.example/path"], "--host"),
        (["e2e", "--host", "user@proxy.example"], "--host"),
        (["e2e", "--host", "[proxy.example]"], "--host"),
        (["e2e", "--host", "-proxy"], "--host"),
        (["e2e", "--host", "a..b"], "--host"),
        (["e2e", "--host", "a" * 300], "--host"),
        (["e2e", "--host", "a b"], "--host"),
        (["e2e", "--host", "a\nb"], "--host"),
        (["e2e", "--host", "fe80::1%eth0"], "--host"),
        ([*E2E, "--wss-port", "0"], "--wss-port"),
        ([*E2E, "--wss-port", "65536"], "--wss-port"),
        ([*E2E, "--wss-port", "-1"], "--wss-port"),
        ([*E2E, "--oauth-port", "https"], "--oauth-port"),
        ([*E2E, "--oauth-port", "\u0661"], "--oauth-port"),
        ([*E2E, "--timeout", "0"], "--timeout"),
        ([*E2E, "--timeout", "-1"], "--timeout"),
        ([*E2E, "--timeout", "nan"], "--timeout"),
        ([*E2E, "--timeout", "inf"], "--timeout"),
        ([*E2E, "--timeout", "soon"], "--timeout"),
        ([*E2E, "--lines", "0"], "--lines"),
        ([*E2E, "--line-bytes", "0"], "--line-bytes"),
        ([*E2E, "--lines", "1000000", "--line-bytes", "1000000"], "--lines"),
        ([*E2E, "--issuer", "awsexample"], "--issuer"),
        ([*E2E, "--issuer", "https://idp.example/?x=1"], "--issuer"),
        ([*E2E, "--issuer", "https://[idp/awsexample"], "--issuer"),
        ([*E2E, "--server-name", "https://x"], "--server-name"),
        ([*E2E, "--client-id", ""], "--client-id"),
        ([*E2E, "--client-secret", "a\r\nb"], "--client-secret"),
        ([*E2E, "--insecure", "--ca-file", "ca.pem"], "--ca-file"),
        ([*E2E, "--ca-file", "/does/not/exist.pem"], "No such file"),
        ([*E2E, "--linger", "1"], "--linger"),
        (["send", "--host", "proxy.example", "--lines", "5"], "--lines"),
        (["send", "--host", "proxy.example", "--linger", "0"], "--linger"),
        (["send", "--host", "proxy.example", "--token-file", "/does/not/exist"], "--token-file"),
    ],
)
def test_wrong_usage_ends_with_2_and_names_the_option(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "usage: python -m client" in printed.err
    assert printed.out == ""


@pytest.mark.parametrize("content", [b"", b"not a certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_ca_file_without_certificates_ends_with_2(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    assert main([*E2E, "--ca-file", str(file)]) == 2
    assert f"--ca-file {file}: holds no certificate in PEM format" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "no token", "a.b", "é.b.c"])
def test_a_token_file_without_a_token_ends_with_2(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "token"
    file.write_text(content, encoding="utf-8")
    assert main(["send", "--host", "proxy.example", "--token-file", str(file)]) == 2
    assert f"--token-file {file}: holds no JWT" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--help"], ["e2e", "--help"], ["send", "--help"]])
def test_help_ends_with_0(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert "usage: python -m client" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "host", "url"),
    [
        ("proxy.example", "proxy.example", "wss://proxy.example:10000/"),
        ("10.0.0.1", "10.0.0.1", "wss://10.0.0.1:10000/"),
        ("::1", "::1", "wss://[::1]:10000/"),
        ("[2001:db8::1]", "2001:db8::1", "wss://[2001:db8::1]:10000/"),
        ("bücher.example", "xn--bcher-kva.example", "wss://xn--bcher-kva.example:10000/"),
    ],
)
def test_hosts_are_names_or_addresses(given: str, host: str, url: str) -> None:
    options, _ = parse(["e2e", "--host", given])
    assert options.target.host == host
    assert options.target.wss_url == url


def test_the_defaults_are_the_products(capsys: pytest.CaptureFixture[str]) -> None:
    del capsys
    options, _ = parse(E2E)
    assert (options.target.wss_port, options.target.oauth_port) == (10000, 11080)
    assert not options.target.insecure
    assert options.issuer is None


def test_secrets_stay_out_of_the_repr_of_options() -> None:
    options, _ = parse([*E2E, "--client-secret", "hush-hush", "--code", "psst"])
    assert "hush-hush" not in repr(options)
    assert "psst" not in repr(options)
