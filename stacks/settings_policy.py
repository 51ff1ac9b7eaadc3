"""The settings that instances are told at boot: whose tokens open a session, within which limits, to what behind.

The proxy checks them again when it boots (`proxy_configuration/policy*.py` in its image).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import model_validator

from stacks import settings_network as network
from stacks import settings_words as words
from stacks.settings_group import Effect, Group, setting
from stacks.settings_types import BOOLEAN, ListKind, ObjectListKind, choice, duration, integer, optional, refuse

Provider = Literal["openidc", "external"]
CertificateMode = Literal["off", "optional", "required"]
_TESTS = ("equals", "oneOf", "contains")


class RequiredClaim(Group):
    """What a claim must be: `claim` and exactly one of `equals`, `oneOf` and `contains`."""

    claim: Annotated[str, words.CLAIM] = setting(..., Effect.BOOT, "Name of the claim.")
    equals: Annotated[words.Scalar | None, optional(words.CLAIM_VALUE)] = setting(
        None, Effect.BOOT, "The claim is this string, whole number, `true` or `false`."
    )
    one_of: Annotated[tuple[words.Scalar, ...] | None, optional(ListKind(words.CLAIM_VALUE, at_least=1))] = setting(
        None, Effect.BOOT, "The claim is one of these."
    )
    contains: Annotated[words.Scalar | None, optional(words.CLAIM_VALUE)] = setting(
        None, Effect.BOOT, "The claim is a list with this in it."
    )

    @model_validator(mode="after")
    def _has_one_test(self) -> Self:
        if sum(value is not None for value in (self.equals, self.one_of, self.contains)) != 1:
            refuse(self.claim, "is not required to be anything in particular", f"exactly one of {', '.join(_TESTS)}")
        return self


class Grants(Group):
    """What a token must grant."""

    audiences: Annotated[tuple[str, ...], ListKind(words.AUDIENCE)] = setting(
        (), Effect.BOOT, "A token's `aud` must name one of these; with an empty list it is not looked at."
    )
    required_scopes: Annotated[tuple[str, ...], ListKind(words.SCOPE)] = setting(
        (), Effect.BOOT, "A token's `scope` (or `scp`) must hold all of these."
    )
    required_claims: Annotated[tuple[RequiredClaim, ...], ObjectListKind("claim rules")] = setting(
        (), Effect.BOOT, "What further claims must be; all of these rules must hold."
    )


class IssuerRules(Grants):
    """An issuer and what its tokens must be."""

    issuer: Annotated[str, network.URL] = setting(
        ..., Effect.BOOT, "The OpenID Connect issuer whose keys sign tokens and whose name `iss` must hold."
    )
    algorithms: Annotated[tuple[str, ...], ListKind(words.ALGORITHM, at_least=1)] = setting(
        ("RS256",),
        Effect.BOOT,
        "Signature algorithms that are accepted. `none` and the HMAC family (`HS…`) are never allowed.",
    )
    clock_skew: Annotated[str, duration("0s", "5m")] = setting(
        "30s", Effect.BOOT, "How far the clocks of issuer and proxy may be apart when `exp` and `nbf` are judged."
    )


class Route(Grants):
    """A path, and what it asks of tokens beyond their issuer's rules."""

    path: Annotated[str, words.ROUTE_PATH] = setting(
        ..., Effect.BOOT, "The path and everything below it. The longest path that covers a request counts."
    )


class ClientCertificates(Group):
    """Mutual TLS on both public listeners."""

    mode: Annotated[CertificateMode, choice(*get_args(CertificateMode))] = setting(
        "off",
        Effect.BOOT,
        "`optional` and `required` ask clients for a certificate; one that does not verify is always refused. It comes "
        "beside the token, never instead of it.",
    )
    ca_certificates: Annotated[tuple[str, ...], ListKind(words.CERTIFICATES)] = setting(
        (), Effect.BOOT, "The authorities that sign clients' certificates."
    )
    revocation_lists: Annotated[tuple[str, ...], ListKind(words.REVOCATION_LISTS)] = setting(
        (), Effect.BOOT, "Revocation lists of these authorities; if there is one, every authority needs one."
    )


class Authentication(IssuerRules):
    """Who may open a session."""

    provider: Annotated[Provider, choice(*get_args(Provider))] = setting(
        "openidc",
        Effect.BOOT,
        "`openidc`: the proxy verifies tokens itself with lua-resty-openidc (only in images built with "
        "`NginxBuild=source`). `external`: the proxy asks an HTTP authorizer about the signature.",
    )
    issuer: Annotated[str, network.URL] = setting(
        "http://${BACKEND_HOST}:${OAUTH_BACKEND_PORT}/awsexample",
        Effect.BOOT,
        "The OpenID Connect issuer whose keys sign tokens and whose name `iss` must hold. The default is the mock "
        "OAuth server.",
    )
    authorizer_url: Annotated[str, network.URL] = setting(
        "http://${BACKEND_HOST}:10090/authorize",
        Effect.BOOT,
        "Used by `external` alone: asked with the bearer token, answers 2xx, 401 or 403. On the mock servers' host "
        "its port must be `mockServers.authorizerPort`.",
    )
    further_issuers: Annotated[tuple[IssuerRules, ...], ObjectListKind("issuers")] = setting(
        (), Effect.BOOT, "Further issuers whose tokens are accepted, each with its own rules."
    )
    routes: Annotated[tuple[Route, ...], ObjectListKind("routes")] = setting(
        (),
        Effect.BOOT,
        "Paths on which sessions may be opened. With an empty list, all of them; all lead to the same application.",
    )
    subprotocol_token: Annotated[bool, BOOLEAN] = setting(
        True,
        Effect.BOOT,
        "Accept a token as the subprotocol `base64url.bearer.authorization.<token>` beside `binary`, for browsers.",
    )
    token_cookie: Annotated[str, words.COOKIE] = setting(
        "", Effect.BOOT, "A cookie that may bring the token, if neither header nor subprotocol does; empty for none."
    )
    stale_keys: Annotated[str, duration("1m", "24h")] = setting(
        "1h", Effect.BOOT, "How long known signing keys stay in use while their issuer cannot be reached."
    )
    client_certificates: ClientCertificates = ClientCertificates()


class Limits(Group):
    """Bounds of sessions and requests; most of the former are off, because a stream needs none."""

    drain_timeout: Annotated[str, duration("0s", "5m")] = setting(
        "30s", Effect.BOOT, "Over how long a stopping worker spreads the ends of its sessions (close code 1001)."
    )
    max_session_age: Annotated[str, duration("0s", "8760h", note="; `0s` = no maximum")] = setting(
        "0s", Effect.BOOT, "A session is closed when it is this old."
    )
    max_frame_size: Annotated[int, integer(0, 2**53, note="; 0 = no maximum")] = setting(
        0, Effect.BOOT, "Payload bytes of one WebSocket frame from a client, at most."
    )
    max_message_size: Annotated[int, integer(0, 2**53, note="; 0 = no maximum")] = setting(
        0, Effect.BOOT, "Payload bytes of one WebSocket message from a client over all its frames, at most."
    )
    control_frames_per_second: Annotated[int, integer(0, 100_000, note="; 0 = no maximum")] = setting(
        100, Effect.BOOT, "Ping and pong frames that a client may send in one second. The `lua` bridge obeys it."
    )
    sessions_per_worker: Annotated[int, integer(0, 262_144, note="; 0 = 7/16 of `proxyWorkerConnections`")] = setting(
        0,
        Effect.BOOT,
        "Sessions that one worker process serves at a time; more are refused with 503. Each takes two of its "
        "connections; the default leaves an eighth of them for handshakes, tokens and health checks, so that a full "
        "proxy still answers. The `lua` bridge obeys it.",
    )
    allowed_origins: Annotated[tuple[str, ...], ListKind(network.ORIGIN)] = setting(
        (), Effect.BOOT, "Origins from which browsers may open sessions; with an empty list, any."
    )
    connections_per_address: Annotated[int, integer(0, 1_000_000, note="; 0 = no maximum")] = setting(
        4096,
        Effect.BOOT,
        "Sessions of one client address at a time on one machine; more are refused with 429. The default has room for "
        "a large office behind one address; raise it where gateways gather more clients than that.",
    )
    connections_per_subject: Annotated[int, integer(0, 1_000_000, note="; 0 = no maximum")] = setting(
        1000,
        Effect.BOOT,
        "Sessions of one subject at a time on one machine; more are refused with 429. By default no single token takes "
        "a machine; raise it where many devices share one.",
    )
    handshakes_per_address: Annotated[int, integer(0, 10_000_000, note="; 0 = no maximum")] = setting(
        7000,
        Effect.BOOT,
        "Requests of one address to the WSS listener in `rateWindow`, and as many to the OAuth listener; more are "
        "refused with 429, and one refusal a second is logged.",
    )
    token_requests_per_address: Annotated[int, integer(0, 10_000_000, note="; 0 = no maximum")] = setting(
        150,
        Effect.BOOT,
        "Requests of one address to `/token` in `rateWindow`, and as many each to `/authorize` and `/configuration`; "
        "more are refused with 429.",
    )
    rate_window: Annotated[str, duration("1s", "1h")] = setting(
        "5m", Effect.BOOT, "The sliding window of time in which requests are counted."
    )
    allowed_networks: Annotated[tuple[str, ...], ListKind(network.SOURCE_CIDR)] = setting(
        (), Effect.BOOT, "Networks whose clients are served; with an empty list, all. Others get 403."
    )
    denied_networks: Annotated[tuple[str, ...], ListKind(network.SOURCE_CIDR)] = setting(
        (), Effect.BOOT, "Networks whose clients get 403, also when an allowed network holds them."
    )
    header_timeout: Annotated[str, duration("1s", "5m")] = setting(
        "10s", Effect.BOOT, "How long a client may take for the TLS handshake and for a request's headers."
    )
    max_request_body: Annotated[int, integer(1024, 1_048_576)] = setting(
        65536, Effect.BOOT, "Bytes of an HTTP request's body, at most; sessions have none."
    )


class Server(Group):
    """How the proxy connects to a server behind it."""

    tls: Annotated[bool, BOOLEAN] = setting(
        False, Effect.BOOT, "Speak TLS to it. Its certificate and name are always verified."
    )
    server_name: Annotated[str, network.SERVER_NAME] = setting(
        "", Effect.BOOT, "The name that its certificate must carry; empty: the name by which it is reached."
    )
    ca_certificates: Annotated[tuple[str, ...], ListKind(words.CERTIFICATES)] = setting(
        (), Effect.BOOT, "The authorities that sign its certificate; with an empty list, the public ones."
    )
    client_certificate: Annotated[bool, BOOLEAN] = setting(
        False,
        Effect.BOOT,
        "Show a certificate of our own. It is not part of the settings, because its key is a secret: see "
        "`docs/security.md` for the two files.",
    )


class OAuthServer(Server):
    """The OAuth server behind the OAuth listener. The same authorities vouch for issuers and authorizer."""


class Application(Server):
    """The TCP application. Only the `lua` bridge obeys these settings."""

    proxy_protocol: Annotated[bool, BOOLEAN] = setting(
        False,
        Effect.BOOT,
        "Begin each connection with a PROXY protocol version 2 header: the client's address, and the token's subject "
        "and more as fields: see `docs/security.md`.",
    )
