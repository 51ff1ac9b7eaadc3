"""Every setting by itself: what it refuses, with the reason, and what it accepts."""

from __future__ import annotations

import pytest

from stacks.settings import load_settings
from tests.unit.settings_support import all_keys, problems

NOT_TEXT: list[object] = [1, True, None, [], {}]
NOT_INTEGER: list[object] = ["", "x", "1.5", 1.5, True, None, [], {}, " 1", "0x10", "007", "1e3", "\u0661", "1\n"]
HAZARDS = [
    "a b",
    "a'b",
    'a"b',
    "a;b",
    "a$b",
    "a`b",
    "a\\b",
    "a|b",
    "a&b",
    "a\nb",
    "a{b",
    "a(b",
    "a<b",
    "a*b",
    "a#b",
    "é",
]
NOT_DURATION: list[object] = [*NOT_TEXT, "", "30", "s", "30 s", "1h30m", "-1s", "1.5s", "30S", "1d", "30s;", "30s\n"]
NOT_URL: list[object] = [
    *NOT_TEXT,
    "",
    "issuer",
    "//host/path",
    "ftp://host/",
    "javascript:alert(1)",
    "HTTP://host/",
    "http://",
    "http:///path",
    "http://user@host/",
    "http://user:secret@host/",
    "http://host:99999/",
    "http://host:0/",
    "http://host:/",
    "http://host:80x/",
    "http://ho st/",
    "http://host/?query",
    "http://host/#fragment",
    "http://host/?",
    "http://-host/",
    "http://300.1.1.1/",
    "http://host/${HOME}",
    "http://${backend_host}/",
    "http://$BACKEND_HOST/",
    "http://host/\n",
    "ht\ntp://host/",
    *(f"http://host/{hazard}" for hazard in HAZARDS if "#" not in hazard),
]
NOT_OBJECTS: list[object] = ["one", 1, True, None, {}]
NOT_PEM_LIST: list[object] = ["-----BEGIN CERTIFICATE-----", {}, None, 1]
NOT_CIDR: list[object] = [
    *NOT_TEXT,
    "",
    "nowhere",
    "10.0.0/16",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/16 ",
    "10.0.0.1/16",
    "256.0.0.0/16",
    "10.0.0.0/255.255.0.0",
    "2001:db8::/32",
    "010.0.0.0/16",
]
NOT_PATH: list[object] = [
    *NOT_TEXT,
    "",
    "/",
    "nginx",
    "./nginx",
    "/nginx/",
    "//nginx",
    "/a/../nginx",
    "/a/./nginx",
    "/..",
    "/.nginx",
    "/-nginx",
    "~/nginx",
    "/usr/nginx",
    "/proc/1",
    "/dev",
    "/tmp/nginx",
    *(f"/{hazard}" for hazard in HAZARDS),
]
NOT_NAME: list[object] = [*NOT_TEXT, "", *HAZARDS]
NOT_PORT: list[object] = [*NOT_INTEGER, 0, -1, 65536, "0", "65536", 10**30]
NOT_INSTANCE_TYPE: list[object] = [
    *NOT_TEXT,
    "",
    "t3",
    "medium",
    "t3.",
    "t3.huge",
    "t3.medium ",
    "T3.medium",
    "t3-medium",
    "t3.medium.large",
    "3t.medium",
    "mac2.metal",
    "t3.0xlarge",
]

REFUSED_OF_A_SERVER: dict[str, list[object]] = {
    "tls": ["true", 1, None, []],
    "serverName": [*NOT_TEXT[:3], "-a", "a b", "a/b", "300.1.1.1", "${BACKEND_HOST}"],
    "caCertificates": NOT_PEM_LIST,
    "clientCertificate": ["true", 1, None, []],
}

REFUSED: dict[str, list[object]] = {
    "vpc.cidr": [
        *NOT_CIDR,
        "10.0.0.0/15",
        "10.0.0.0/29",
        "10.0.0.0",
        "127.0.0.0/16",
        "169.254.0.0/16",
        "172.17.0.0/16",
    ],
    "vpc.subnets.mask": [*NOT_INTEGER, 15, 29],
    "vpc.maxAzs": [*NOT_INTEGER, 1, 7],
    "vpc.natGateways": [*NOT_INTEGER, 0, 7],
    "ssm.projectPrefix": [*NOT_NAME, "aws-proxy", "AWSproxy", "ssm", "/secure", "a/b", "-a", "a" * 65],
    "elb.namePrefix": [*NOT_NAME, "internal-a", "-a", "a-", "a_b", "a.b", "a" * 21],
    "imagebuilder.imageBuilderEmailAddress": [
        *NOT_TEXT,
        "",
        "you",
        "@company.com",
        "you@",
        "you@company",
        "you@@company.com",
        "a@b@company.com",
        "you@company.com ",
        "You <you@company.com>",
        "you@company.com,me@company.com",
        ".you@company.com",
        "you.@company.com",
        "a..b@company.com",
        "you@-company.com",
        "you@company..com",
        "you@company.com\nBcc: x",
        '"y ou"@company.com',
        "a" * 65 + "@company.com",
    ],
    "imagebuilder.ebsVolumeSize": [*NOT_INTEGER, 7, 16385],
    "imagebuilder.instanceTypes": ["t3.medium", {}, None, 3, [], ["t3.medium", "t3.medium"]],
    "imagebuilder.instanceTypes[0]": NOT_INSTANCE_TYPE,
    "imagebuilder.extraTags": [
        [],
        "a=b",
        None,
        {"a": 1},
        {"": "x"},
        {"aws:name": "x"},
        {"AWS:name": "x"},
        {"secure-proxy:stack": "x"},
        {"Secure-Proxy:own": "x"},
        {"a b": "x"},
        {"a": "x\n"},
        {"a": "x'"},
        {"a" * 129: "x"},
        {"a": "x" * 257},
        {f"key{number}": "x" for number in range(41)},
    ],
    "imagebuilder.baseImage": [*NOT_TEXT, "", "amazon-linux-2", "Amazon-Linux-2023"],
    "imagebuilder.schedule": [*NOT_TEXT, "", "weekly", "rate(1 day)", "0 2 * * 0"],
    "proxySettings.jailBaseDir": [*NOT_PATH, "/etc/nginx", "/var", "/var/lib", "/home"],
    "proxySettings.proxyBaseDir": [*NOT_PATH, "/etc", "/var", "/var/cache/nginx", "/etc/ssl", "/etc/systemd/x"],
    "proxySettings.proxyWorkerProcesses": [*NOT_INTEGER, "Auto", 0, 513, "auto;"],
    "proxySettings.proxyWorkerConnections": [*NOT_INTEGER, 15, 524289],
    "proxySettings.proxyCloudwatchLogGroup": [*NOT_NAME, "aws/proxy", "a" * 257],
    "proxySettings.keepaliveTimeout": [*NOT_INTEGER, "120s", 0, -1, 3601],
    "proxySettings.wssProxyBindPort": NOT_PORT,
    "proxySettings.oAuthProxyBindPort": NOT_PORT,
    "proxySettings.kernel_ports_range_start": [*NOT_PORT, 1023],
    "proxySettings.kernel_ports_range_end": [*NOT_PORT, 1023],
    "proxySettings.proxyPortScaleFactor": [*NOT_INTEGER, -65535, 65535],
    "proxySettings.websockifyConnectTimeout": [*NOT_DURATION, "0s", "76s", "2m"],
    "proxySettings.websockifyReadTimeout": [*NOT_DURATION, "0ms", "25h"],
    "proxySettings.websockifySendTimeout": [*NOT_DURATION, "0h", "25h"],
    "proxySettings.bridge": [*NOT_TEXT, "", "Lua", "websocket"],
    "proxySettings.authentication.provider": [*NOT_TEXT, "", "none", "OpenIDC"],
    "proxySettings.authentication.issuer": NOT_URL,
    "proxySettings.authentication.audiences": ["one", {}, None, ["a", "a"]],
    "proxySettings.authentication.audiences[0]": [*NOT_NAME, "-a", "a" * 257],
    "proxySettings.authentication.algorithms": ["RS256", {}, None, [], ["RS256", "RS256"]],
    "proxySettings.authentication.algorithms[0]": [
        *NOT_TEXT,
        "",
        "none",
        "None",
        "NONE",
        "nOnE",
        "HS256",
        "hs512",
        "rs256",
        "ES256K",
        "EdDSA",
        "RS256 ",
    ],
    "proxySettings.authentication.requiredScopes": ["one", {}, None, ["a", "a"]],
    "proxySettings.authentication.requiredScopes[0]": [*NOT_TEXT, "", "a b", "a'b", 'a"b', "a\\b", "é", "a" * 257],
    "proxySettings.authentication.requiredClaims": NOT_OBJECTS,
    "proxySettings.authentication.furtherIssuers": NOT_OBJECTS,
    "proxySettings.authentication.routes": NOT_OBJECTS,
    "proxySettings.authentication.subprotocolToken": ["true", 1, None, []],
    "proxySettings.authentication.tokenCookie": [*NOT_TEXT, "a b", "a-b", "a=b", "a;b", "a" * 65],
    "proxySettings.authentication.staleKeys": [*NOT_DURATION, "59s", "25h"],
    "proxySettings.authentication.clientCertificates.mode": [*NOT_TEXT, "", "on", "Required"],
    "proxySettings.authentication.clientCertificates.caCertificates": NOT_PEM_LIST,
    "proxySettings.authentication.clientCertificates.revocationLists": NOT_PEM_LIST,
    **{
        f"proxySettings.{server}.{key}": values
        for server in ("application", "oAuthServer")
        for key, values in REFUSED_OF_A_SERVER.items()
    },
    "proxySettings.application.proxyProtocol": ["true", 1, None, "v2"],
    "proxySettings.limits.connectionsPerAddress": [*NOT_INTEGER, -1, 1_000_001],
    "proxySettings.limits.connectionsPerSubject": [*NOT_INTEGER, -1, 1_000_001],
    "proxySettings.limits.handshakesPerAddress": [*NOT_INTEGER, -1, 10_000_001],
    "proxySettings.limits.tokenRequestsPerAddress": [*NOT_INTEGER, -1, 10_000_001],
    "proxySettings.limits.rateWindow": [*NOT_DURATION, "0s", "999ms", "2h"],
    "proxySettings.limits.allowedNetworks": ["10.0.0.0/8", {}, None],
    "proxySettings.limits.allowedNetworks[0]": NOT_CIDR,
    "proxySettings.limits.deniedNetworks": ["10.0.0.0/8", {}, None],
    "proxySettings.limits.deniedNetworks[0]": NOT_CIDR,
    "proxySettings.limits.headerTimeout": [*NOT_DURATION, "0s", "6m"],
    "proxySettings.limits.maxRequestBody": [*NOT_INTEGER, 0, 1023, 1_048_577],
    "proxySettings.authentication.clockSkew": [*NOT_DURATION, "301s", "6m"],
    "proxySettings.authentication.authorizerUrl": NOT_URL,
    "proxySettings.limits.drainTimeout": [*NOT_DURATION, "301s"],
    "proxySettings.limits.maxSessionAge": [*NOT_DURATION, "8761h"],
    "proxySettings.limits.maxFrameSize": [*NOT_INTEGER, -1, 2**53 + 1],
    "proxySettings.limits.maxMessageSize": [*NOT_INTEGER, -1, 2**53 + 1],
    "proxySettings.limits.controlFramesPerSecond": [*NOT_INTEGER, -1, 100001],
    "proxySettings.limits.sessionsPerWorker": [*NOT_INTEGER, -1, 262145],
    "proxySettings.limits.allowedOrigins": ["*", {}, None, ["https://a.b", "https://a.b"]],
    "proxySettings.limits.allowedOrigins[0]": [
        *NOT_URL,
        "*",
        "null",
        "https://a.b/",
        "https://a.b/c",
        "https://A.b",
        "https://*.b",
        "https://${BACKEND_HOST}",
    ],
    "mockServers.tcpServerPort": NOT_PORT,
    "mockServers.oAuthServerPort": NOT_PORT,
    "mockServers.authorizerPort": NOT_PORT,
    "externalIp.autoDetect": ["true", "false", 1, 0, None, [], "yes"],
    "externalIp.iPAddress": NOT_CIDR,
    "proxyFleet.minCapacity": [*NOT_INTEGER, 0, 101],
    "proxyFleet.maxCapacity": [*NOT_INTEGER, 0, 101],
    "proxyFleet.instanceType": NOT_INSTANCE_TYPE,
}

ACCEPTED: dict[str, list[tuple[object, object]]] = {
    "vpc.cidr": [("10.0.0.0/16", "10.0.0.0/16"), ("100.64.0.0/17", "100.64.0.0/17")],
    "ssm.projectPrefix": [("Team_a.proxy-1", "Team_a.proxy-1")],
    "elb.namePrefix": [("a", "a"), ("a" * 20, "a" * 20)],
    "imagebuilder.instanceTypes": [(["m7i-flex.large", "c5.metal"], ("m7i-flex.large", "c5.metal"))],
    "imagebuilder.extraTags": [
        ({}, {}),
        ({f"key{number}": "x" for number in range(40)},) * 2,
        ({"cost:center": "a b@c"}, {"cost:center": "a b@c"}),
    ],
    "imagebuilder.schedule": [("cron(0 3 1 * ? *)", "cron(0 3 1 * ? *)"), ("0 3 ? * MON *", "cron(0 3 ? * mon *)")],
    "proxySettings.jailBaseDir": [("/srv/nginx", "/srv/nginx"), ("/var/lib/nginx-jail", "/var/lib/nginx-jail")],
    "proxySettings.proxyBaseDir": [("/etc/nginx-1.30", "/etc/nginx-1.30"), ("/opt/nginx/conf", "/opt/nginx/conf")],
    "proxySettings.proxyWorkerProcesses": [(1, "1"), ("4", "4"), ("auto", "auto"), (512, "512")],
    "proxySettings.websockifyConnectTimeout": [("1ms", "1ms"), ("75s", "75s"), ("1m", "1m")],
    "proxySettings.websockifyReadTimeout": [("24h", "24h"), ("1500ms", "1500ms")],
    "proxySettings.authentication.issuer": [
        ("https://login.company.com/realms/a_b/v2.0", "https://login.company.com/realms/a_b/v2.0"),
        ("https://login.company.com:8443", "https://login.company.com:8443"),
        ("http://10.0.0.1/x/", "http://10.0.0.1/x/"),
    ],
    "proxySettings.authentication.audiences": [(["api://proxy", "my-app"], ("api://proxy", "my-app"))],
    "proxySettings.authentication.algorithms": [(["RS512", "RS384"], ("RS512", "RS384"))],
    "proxySettings.authentication.clockSkew": [("0s", "0s"), ("5m", "5m")],
    "proxySettings.limits.maxSessionAge": [("8760h", "8760h"), ("0ms", "0ms")],
    "proxySettings.limits.maxFrameSize": [(2**53, 2**53), (0, 0)],
    "proxySettings.limits.allowedOrigins": [
        (["https://a.b:8443", "http://localhost"], ("https://a.b:8443", "http://localhost"))
    ],
    "externalIp.autoDetect": [(False, False)],
    "externalIp.iPAddress": [("203.0.113.7", "203.0.113.7/32"), ("203.0.113.0/24", "203.0.113.0/24")],
}


def as_override(path: str, value: object) -> dict[str, object]:
    return {path.removesuffix("[0]"): [value]} if path.endswith("[0]") else {path: value}


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, values in REFUSED.items() for value in values])
def test_a_bad_value_is_refused_under_its_own_key(path: str, value: object) -> None:
    assert list(problems(as_override(path, value))) == [path]


def test_every_key_has_bad_values_to_refuse() -> None:
    assert {path.removesuffix("[0]") for path in REFUSED} == set(all_keys())


@pytest.mark.parametrize(
    ("key", "value", "expected"), [(key, *pair) for key, pairs in ACCEPTED.items() for pair in pairs]
)
def test_a_good_value_becomes_the_setting(key: str, value: object, expected: object) -> None:
    place: object = load_settings(overrides={key: value}).model_dump(by_alias=True)
    for part in key.split("."):
        assert isinstance(place, dict)
        place = place[part]
    assert place == expected


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (
            "proxySettings.wssProxyBindPort",
            70000,
            "70000 is out of range, allowed: a whole number from 1 to 65535",
        ),
        ("vpc.cidr", "10.0.0.1/16", '"10.0.0.1/16" has host bits set, allowed: an IPv4 block from /16 to /28'),
        ("proxySettings.bridge", "rope", '"rope" is not one of the choices, allowed: `lua` or `websockify`'),
        (
            "proxySettings.limits.drainTimeout",
            "30",
            '"30" is not a duration, allowed: a number followed by ms, s, m or h, from 0s to 5m',
        ),
        (
            "proxySettings.authentication.algorithms",
            ["none"],
            '"none" would let others than the issuer sign tokens, allowed: `RS256` or `RS384` or `RS512` or `PS256`',
        ),
        ("imagebuilder.extraTags", {"a": 1}, '{"a": 1} holds 1, which is not a string, allowed: at most 40 entries'),
        (
            "proxySettings.authentication.issuer",
            "http://host/${HOME}",
            '"http://host/${HOME}" holds a placeholder that does not exist, allowed: an http or https URL',
        ),
        ("externalIp.autoDetect", "true", '"true" is neither true nor false, allowed: `true` or `false`'),
    ],
)
def test_the_text_says_what_is_wrong_and_what_is_allowed(key: str, value: object, text: str) -> None:
    (found,) = problems({key: value}).values()
    assert found.startswith(text)


def test_long_list_entries_that_begin_alike_are_not_taken_for_repetitions() -> None:
    names = ["a" * 200 + ending for ending in ("1", "2")]
    assert load_settings(overrides={"proxySettings.authentication.audiences": names})
