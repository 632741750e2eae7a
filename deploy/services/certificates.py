"""A certificate authority of our own, and certificates by it for the broker and for a client: all by openssl."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.services.programs import filled_at_once, need, run

_NEW_KEY = ("-newkey", "rsa:2048", "-noenc", "-sha256", "-days", "3650")
_REVOCATION = """[ca]
default_ca = own
[own]
database = {folder}/index.txt
default_md = sha256
default_crl_days = 3650
"""


@dataclass(frozen=True)
class Certificates:
    """PEM files for the broker's TLS listeners, all in one folder.

    Attributes:
        folder: where they lie, or will lie.
        key_password: password of `encrypted_key`.
    """

    folder: Path
    key_password: str = field(repr=False)

    @property
    def ca(self) -> Path:
        """Certificate of the authority that both sides trust."""
        return self.folder / "ca.crt"

    @property
    def crl(self) -> Path:
        """Revocation list of the authority; it revokes nothing."""
        return self.folder / "ca.crl"

    @property
    def certificate(self) -> Path:
        """Certificate of the client."""
        return self.folder / "client.crt"

    @property
    def key(self) -> Path:
        """Private key of the client, not encrypted."""
        return self.folder / "client.key"

    @property
    def encrypted_key(self) -> Path:
        """The same key, encrypted with `key_password`."""
        return self.folder / "client-encrypted.key"

    @property
    def server(self) -> Path:
        """Private key and certificates of the broker in one file."""
        return self.folder / "server.pem"


def make_certificates(certificates: Certificates) -> None:
    """Make the authority, the certificates and their keys, unless they are there.

    Raises:
        ServiceError: openssl is missing or failed.
    """
    if certificates.folder.is_dir():
        return
    with filled_at_once(certificates.folder) as folder:
        made = Certificates(folder, certificates.key_password)
        authority = folder / "ca.key"
        subject = ("-subj", "/CN=qpipe development CA")
        _openssl("req", "-x509", *_NEW_KEY, *subject, "-keyout", authority, "-out", made.ca)
        key, certificate = folder / "server.key", folder / "server.crt"
        names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
        _issue(made.ca, authority, "localhost", ("extendedKeyUsage=serverAuth", names), key, certificate)
        _issue(made.ca, authority, "qpipe-client", ("extendedKeyUsage=clientAuth",), made.key, made.certificate)
        made.server.write_bytes(b"".join(path.read_bytes() for path in (key, certificate, made.ca)))
        _openssl(
            "pkcs8", "-topk8", "-in", made.key, "-out", made.encrypted_key, "-passout", "env:KEY_PASSWORD",
            password=certificates.key_password,
        )  # fmt: skip
        _make_revocation_list(made, authority)
        for secret in (authority, key, made.server, made.key, made.encrypted_key):
            secret.chmod(0o600)


def _issue(ca: Path, authority: Path, name: str, extensions: Sequence[str], key: Path, certificate: Path) -> None:
    signer = ("-x509", "-CA", ca, "-CAkey", authority)
    options = [word for text in ("basicConstraints=critical,CA:FALSE", *extensions) for word in ("-addext", text)]
    _openssl("req", *signer, *_NEW_KEY, "-subj", f"/CN={name}", *options, "-keyout", key, "-out", certificate)


def _make_revocation_list(made: Certificates, authority: Path) -> None:
    configuration = made.folder / "ca.cnf"
    configuration.write_text(_REVOCATION.format(folder=made.folder))
    (made.folder / "index.txt").touch()
    _openssl("ca", "-gencrl", "-config", configuration, "-keyfile", authority, "-cert", made.ca, "-out", made.crl)


def _openssl(*arguments: str | Path, password: str = "") -> None:
    command = [need("openssl", "openssl"), *map(str, arguments)]
    run(command, "the certificates cannot be made", environment={"KEY_PASSWORD": password})
