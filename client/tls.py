"""TLS of the client: verified unless told otherwise, and errors that say what to do."""

from __future__ import annotations

import ssl

from client.options import Target
from client.results import ExpectationError

INSECURE_WARNING = (
    "WARNING: --insecure: the proxy's certificate is NOT verified; anyone on the path can read the token and the data"
)

_UNTRUSTED = (
    "if you trust this proxy, pass the CA certificate that signed its certificate (a self-signed one is its own CA) "
    "with --ca-file; --insecure skips the check, for throw-away tests only"
)

# X509_V_ERR_* of OpenSSL's x509_vfy.h.
_REMEDIES = {
    9: "check the clocks of this machine and of the proxy",
    10: "renew the certificate on the proxy, or check the clock of this machine",
    18: _UNTRUSTED,
    19: _UNTRUSTED,
    20: _UNTRUSTED,
    21: _UNTRUSTED,
    62: "use a name that the certificate holds as --host, or name it with --server-name",
    64: "use a name or address that the certificate holds as --host, or name it with --server-name",
}


class CaFileError(Exception):
    """`--ca-file` cannot be used; the text names the file and the cause."""


def make_context(target: Target) -> ssl.SSLContext:
    """Makes the TLS context for both listeners: TLS 1.2 or later, verified against the system's CAs or `ca_file`.

    Raises CaFileError if the CA file cannot be read or holds no PEM certificate.
    """
    if target.insecure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        try:
            context = ssl.create_default_context(cafile=str(target.ca_file) if target.ca_file else None)
        except ssl.SSLError:
            raise CaFileError(f"--ca-file {target.ca_file}: holds no certificate in PEM format") from None
        except OSError as error:
            raise CaFileError(f"--ca-file {target.ca_file}: {error.strerror}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def certificate_refused(error: ssl.SSLCertVerificationError, where: str) -> ExpectationError:
    """Says why the certificate of `where` was refused and what can be done."""
    return ExpectationError(
        f"a certificate that this client trusts at {where}",
        f"certificate refused: {error.verify_message}",
        _REMEDIES.get(error.verify_code, _UNTRUSTED),
    )


def handshake_failed(error: ssl.SSLError, where: str) -> ExpectationError:
    """Says how the TLS handshake with `where` failed."""
    reason = error.reason or str(error)
    remedy = None
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        remedy = "something other than TLS answers on this port: check host and port"
    elif "PROTOCOL" in reason:
        remedy = "the other side offers nothing newer than TLS 1.1: this client needs 1.2 or 1.3"
    elif reason == "UNEXPECTED_EOF_WHILE_READING":
        remedy = "the other side hung up during the handshake: does it speak TLS, and 1.2 or 1.3 of it?"
    return ExpectationError(f"TLS 1.2 or 1.3 at {where}", f"TLS handshake failed: {reason}", remedy)
