"""The mock OAuth server gives anybody a signed token, and its key outlives a restart."""

from __future__ import annotations

import base64
import json
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, KeySetSerialization

from tests.ports import free_port

from .conftest import oauth_server_in
from .support import ADDRESS, BACKEND_HOST, Server, decode

CODE_GRANT = {"grant_type": "authorization_code", "client_id": "anyone", "client_secret": "anything", "code": "any"}


def issuer_of(server: Server) -> str:
    return f"http://{BACKEND_HOST}:{server.port}/awsexample"


def key_set(server: Server) -> KeySetSerialization:
    keys: KeySetSerialization = server.get("/awsexample/jwks").json()
    return keys


def token(server: Server, **form: str) -> str:
    answer = server.post("/awsexample/token", {**CODE_GRANT, **form})
    assert answer.status_code == 200, answer.text
    access_token: str = answer.json()["access_token"]
    return access_token


def verified(access_token: str, keys: KeySetSerialization) -> jwt.Token:
    return jwt.decode(access_token, KeySet.import_key_set(keys), algorithms=["RS256"])


def kid_of(access_token: str) -> str:
    kid: str = json.loads(decode(access_token.split(".")[0]))["kid"]
    return kid


def wait_for_rotation(server: Server, kid: str) -> str:
    deadline = time.monotonic() + 15
    while (fresh := token(server)) and kid_of(fresh) == kid:
        assert time.monotonic() < deadline, "still the old key"
    return fresh


def test_discovery_names_the_issuer_under_the_backend_name(oauth_server: Server) -> None:
    document = oauth_server.get("/awsexample/.well-known/openid-configuration").json()
    issuer = issuer_of(oauth_server)
    assert document["issuer"] == issuer
    assert document["token_endpoint"] == f"{issuer}/token"
    assert document["authorization_endpoint"] == f"{issuer}/authorize"
    assert document["jwks_uri"] == f"{issuer}/jwks"


def test_the_issuer_does_not_depend_on_the_host_header(oauth_server: Server) -> None:
    answer = oauth_server.get("/awsexample/.well-known/openid-configuration", {"Host": "evil.example"})
    assert answer.json()["issuer"] == issuer_of(oauth_server)


@pytest.mark.parametrize(
    "form",
    [
        CODE_GRANT,
        {"grant_type": "authorization_code", "client_id": "a", "code": "never handed out"},
        {"grant_type": "client_credentials", "client_id": "b", "client_secret": "x", "scope": "s"},
        {"grant_type": "refresh_token", "client_id": "c", "refresh_token": "x"},
        {"grant_type": "password", "client_id": "d", "username": "u", "password": "p"},
    ],
    ids=lambda form: f"{form['grant_type']}-{form['client_id']}",
)
def test_any_client_gets_a_token_signed_by_the_served_key(oauth_server: Server, form: dict[str, str]) -> None:
    answer = oauth_server.post("/awsexample/token", form)
    assert answer.status_code == 200
    claims = verified(answer.json()["access_token"], key_set(oauth_server)).claims
    assert claims["iss"] == issuer_of(oauth_server)
    assert claims["sub"] == form["client_id"]
    assert claims["exp"] == pytest.approx(time.time() + 3600, abs=10)


def test_a_client_may_name_itself_by_http_basic(oauth_server: Server) -> None:
    credentials = base64.b64encode(b"my%20client:secret").decode()
    form = {"grant_type": "client_credentials", "scope": "s"}
    answer = oauth_server.post("/awsexample/token", form, {"Authorization": f"Basic {credentials}"})
    assert verified(answer.json()["access_token"], key_set(oauth_server)).claims["sub"] == "my client"


def test_the_form_shapes_lifetime_and_audience(oauth_server: Server) -> None:
    answer = oauth_server.post("/awsexample/token", {**CODE_GRANT, "expires_in": "5", "audience": "proxy"})
    claims = verified(answer.json()["access_token"], key_set(oauth_server)).claims
    assert claims["exp"] - claims["iat"] == 5
    assert answer.json()["expires_in"] == 5
    assert claims["aud"] == "proxy"


@pytest.mark.parametrize("lifetime", ["0", "-1", "86401", "1e3", "abc"])
def test_a_lifetime_that_is_none_is_refused(oauth_server: Server, lifetime: str) -> None:
    answer = oauth_server.post("/awsexample/token", {**CODE_GRANT, "expires_in": lifetime})
    assert answer.status_code == 400
    assert "expires_in" in answer.text


def test_two_tokens_are_never_alike(oauth_server: Server) -> None:
    assert token(oauth_server) != token(oauth_server)


@pytest.mark.parametrize(
    "path", ["/other/token", "/token", "/awsexample", "/awsexampletoken", "/awsexample/../token", "/awsexample/keys"]
)
def test_other_issuers_and_paths_are_unknown(oauth_server: Server, path: str) -> None:
    assert oauth_server.post(path, CODE_GRANT).status_code == 404


def test_a_token_needs_a_client_id_and_a_known_grant(oauth_server: Server) -> None:
    assert oauth_server.post("/awsexample/token", {"grant_type": "authorization_code"}).status_code == 400
    assert oauth_server.post("/awsexample/token", {"grant_type": "x", "client_id": "a"}).status_code == 400


def test_the_authorization_endpoint_redirects_with_a_code_and_the_state(oauth_server: Server) -> None:
    answer = oauth_server.get(
        "/awsexample/authorize?response_type=code&client_id=a&redirect_uri=https://app.example/back&state=s1"
    )
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("https://app.example/back?code=")
    assert answer.headers["location"].endswith("&state=s1")


def test_the_key_set_shows_public_members_only(oauth_server: Server) -> None:
    for key in key_set(oauth_server)["keys"]:
        assert set(key) == {"kty", "n", "e", "kid", "alg", "use"}


def test_is_alive(oauth_server: Server) -> None:
    assert oauth_server.get("/isalive").status_code == 200


def test_tokens_stay_good_over_a_restart(node: str, servers: Path, tmp_path: Path) -> None:
    with oauth_server_in(node, servers, tmp_path) as server:
        before = token(server)
        port = server.port
    with oauth_server_in(node, servers, tmp_path, port) as server:
        assert verified(before, key_set(server)).claims["sub"] == "anyone"


def test_two_machines_have_different_keys(node: str, servers: Path, tmp_path: Path) -> None:
    kids = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with oauth_server_in(node, servers, tmp_path / name) as server:
            kids.add(key_set(server)["keys"][0]["kid"])
    assert len(kids) == 2


@pytest.mark.usefixtures("fresh_oauth_server")
def test_the_key_file_is_private(tmp_path: Path) -> None:
    assert (tmp_path / "state" / "signing-keys.json").stat().st_mode & 0o777 == 0o600


def test_sighup_signs_with_a_new_key_and_keeps_the_previous_one_published(fresh_oauth_server: Server) -> None:
    before = token(fresh_oauth_server)
    fresh_oauth_server.send(signal.SIGHUP)
    after = wait_for_rotation(fresh_oauth_server, kid_of(before))
    keys = key_set(fresh_oauth_server)
    assert [key["kid"] for key in keys["keys"]] == [kid_of(after), kid_of(before)]
    assert verified(before, keys)
    assert verified(after, keys)


def test_a_second_rotation_ends_the_first_key(fresh_oauth_server: Server) -> None:
    first = kid_of(token(fresh_oauth_server))
    fresh_oauth_server.send(signal.SIGHUP)
    second = kid_of(wait_for_rotation(fresh_oauth_server, first))
    fresh_oauth_server.send(signal.SIGHUP)
    wait_for_rotation(fresh_oauth_server, second)
    assert first not in [key["kid"] for key in key_set(fresh_oauth_server)["keys"]]


def test_a_rotated_key_survives_a_restart(node: str, servers: Path, tmp_path: Path) -> None:
    with oauth_server_in(node, servers, tmp_path) as server:
        old = kid_of(token(server))
        server.send(signal.SIGHUP)
        new = kid_of(wait_for_rotation(server, old))
    with oauth_server_in(node, servers, tmp_path) as server:
        assert kid_of(token(server)) == new


@pytest.mark.parametrize("damage", ["", "{", '{"keys": []}', '{"keys": [{"kty": "RSA"}]}', "null"])
def test_a_damaged_key_file_stops_the_start_and_says_what_to_do(
    node: str, servers: Path, tmp_path: Path, damage: str
) -> None:
    (tmp_path / "state").mkdir()
    file = tmp_path / "state" / "signing-keys.json"
    file.write_text(damage)
    with (
        pytest.raises(AssertionError, match="holds no signing keys; remove it"),
        oauth_server_in(node, servers, tmp_path),
    ):
        pass
    assert file.read_text() == damage


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BACKEND_HOST", ""),
        ("BACKEND_HOST", "a b"),
        ("BACKEND_HOST", "host:1"),
        ("BACKEND_HOST", "Upper.example"),
        ("OAUTH_SERVER_PORT", "0"),
        ("OAUTH_SERVER_PORT", "http"),
        ("STATE_DIRECTORY", ""),
    ],
)
def test_a_bad_setting_stops_the_start_and_is_named(
    node: str, servers: Path, tmp_path: Path, name: str, value: str
) -> None:
    environment = {
        "OAUTH_SERVER_PORT": str(free_port()),
        "BACKEND_HOST": BACKEND_HOST,
        "STATE_DIRECTORY": str(tmp_path),
        "LISTEN_ADDRESS": ADDRESS,
        name: value,
    }
    outcome = subprocess.run(
        [node, str(servers / "oauth_server.mjs")], env=environment, capture_output=True, text=True, timeout=30
    )
    assert outcome.returncode == 1
    assert name in outcome.stderr


def raw_status(server: Server, request: bytes) -> int:
    with socket.create_connection((ADDRESS, server.port), timeout=10) as connection:
        connection.sendall(request)
        return int(connection.recv(4096).split(b" ")[1])


def test_a_body_of_unknown_or_great_length_is_refused(oauth_server: Server) -> None:
    head = b"POST /awsexample/token HTTP/1.1\r\nHost: x\r\n"
    assert raw_status(oauth_server, head + b"Transfer-Encoding: chunked\r\n\r\n") == 411
    assert raw_status(oauth_server, head + b"Content-Length: 65537\r\n\r\n") == 413


def test_the_log_holds_no_token_and_no_secret(fresh_oauth_server: Server) -> None:
    access_token = token(fresh_oauth_server, client_secret="very-secret-value")
    assert "very-secret-value" not in fresh_oauth_server.log
    assert access_token.split(".")[2] not in fresh_oauth_server.log
