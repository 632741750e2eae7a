"""Certificates for tests, by openssl: an authority, a client's certificate by it, its key with and without password."""

from __future__ import annotations

import subprocess
from pathlib import Path

KEY_PASSWORD = "key-password"


def make(folder: Path) -> None:
    """Make ca.crt, ca.crl, client.crt, client.key and encrypted.key in the folder."""
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2"]
    authority = ["-x509", "-CA", "ca.crt", "-CAkey", "ca.key"]
    configuration = "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=2\n"
    (folder / "ca.cnf").write_text(configuration)
    (folder / "index.txt").touch()
    for arguments in (
        ["req", "-x509", *new, "-subj", "/CN=test", "-keyout", "ca.key", "-out", "ca.crt"],
        ["req", *authority, *new, "-subj", "/CN=client", "-keyout", "client.key", "-out", "client.crt"],
        ["pkcs8", "-topk8", "-in", "client.key", "-out", "encrypted.key", "-passout", f"pass:{KEY_PASSWORD}"],
        ["ca", "-gencrl", "-config", "ca.cnf", "-keyfile", "ca.key", "-cert", "ca.crt", "-out", "ca.crl"],
    ):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
