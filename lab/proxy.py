"""A CONNECT proxy that answers for the clouds' host names with the lab, and for no other host.

Some SDKs have their host names built in (Azure's storage and sign-in hosts, SageMaker's STS host).
With ``HTTPS_PROXY`` set
to this proxy and its certificate authority trusted, they reach the lab unmodified. The Host header
goes through as it is, so
that each plane knows by which name it was called. Every other host is refused: nothing leaves the
machine, telemetry included.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import functools
import os
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab import home as lab_home

# Which plane answers for a host; a leading dot stands for any name below it.
AZURE_HOSTS = (
    "management.azure.com",
    "login.microsoftonline.com",
    "ml.azure.com",
    ".ml.azure.com",
    ".api.azureml.ms",
    ".blob.core.windows.net",
    ".vault.azure.net",
    ".azurecr.io",
)
AWS_HOSTS = (".amazonaws.com",)
# Below .amazonaws.com, yet a collector of usage data and no service of the account.
REFUSED_PREFIXES = ("sm-pysdk-t-",)
_COPY_BYTES = 64 * 1024


def plane_of(host: str) -> str | None:
    """Return the plane that answers for a host, "azure" or "aws"; None where the lab has none."""
    host = host.lower().rstrip(".")
    if host.startswith(REFUSED_PREFIXES):
        return None
    for plane, names in (("azure", AZURE_HOSTS), ("aws", AWS_HOSTS)):
        if any(host == name or (name[0] == "." and host.endswith(name)) for name in names):
            return plane
    return None


class CertificateAuthority:
    """The lab's own authority: its key is kept in the lab's folder and opens nothing else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.certificate_path = folder / "ca.pem"
        key_path = folder / "ca.key"
        if self.certificate_path.exists() and key_path.exists():
            key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise lab_home.LabError(
                    f"{key_path} is no key of the lab's. Run: trainstack lab reset"
                )
            self._key = key
            self._certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
            return
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign("trainstack lab", self._key, is_authority=True)
        lab_home.write_atomically(key_path, _pem(self._key))
        lab_home.write_atomically(
            self.certificate_path,
            self._certificate.public_bytes(serialization.Encoding.PEM).decode(),
        )

    @functools.lru_cache(maxsize=256)  # noqa: B019 - lives as long as the process
    def context(self, host: str) -> ssl.SSLContext:
        """Return a server context with a certificate for one host."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(host, key, is_authority=False)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".pem") as file:
            file.write(_pem(key).encode() + certificate.public_bytes(serialization.Encoding.PEM))
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def write_bundle(self, path: Path) -> None:
        """Write this authority alone: a process of the lab has no other host to trust."""
        lab_home.write_atomically(path, self.certificate_path.read_text(encoding="ascii"))

    def _sign(
        self, name: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if is_authority else self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=3650 if is_authority else 365))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if is_authority:
            usage = x509.KeyUsage(
                digital_signature=True, key_cert_sign=True, crl_sign=True,
                content_commitment=False, key_encipherment=False, data_encipherment=False,
                key_agreement=False, encipher_only=False, decipher_only=False,
            )  # fmt: skip
            builder = builder.add_extension(usage, critical=True)
        else:
            names = x509.SubjectAlternativeName([x509.DNSName(name)])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


class Proxy:
    """Serves CONNECT for the clouds' hosts and pipes the decrypted bytes to a plane's http."""

    def __init__(self, upstreams: Mapping[str, tuple[str, int]], authority: CertificateAuthority):
        self._upstreams = upstreams
        self._authority = authority

    async def serve(self, port: int) -> None:
        """Serve on 127.0.0.1 until cancelled."""
        server = await asyncio.start_server(self._handle, "127.0.0.1", port)
        async with server:
            await server.serve_forever()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve_one(reader, writer)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client went away
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, *_ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if method == "GET" and target == "/_lab/health":
            await _answer(writer, 200, "ok")
            return
        host, _, port = target.rpartition(":")
        plane = plane_of(host) if method == "CONNECT" and port == "443" else None
        if plane is None:
            await _answer(writer, 403, f"the lab answers for no host {target!r}")
            return
        upstream = await asyncio.open_connection(*self._upstreams[plane])
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        await writer.start_tls(self._authority.context(host))
        await asyncio.gather(
            _copy(reader, upstream[1]), _copy(upstream[0], writer), return_exceptions=True
        )


async def _answer(writer: asyncio.StreamWriter, status: int, text: str) -> None:
    reason = {200: "OK", 403: "Forbidden"}[status]
    body = text.encode()
    writer.write(
        f"HTTP/1.1 {status} {reason}\r\nContent-Length: {len(body)}\r\nContent-Type: text/plain\r\n"
        "Connection: close\r\n\r\n".encode()
        + body
    )
    await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_COPY_BYTES):
            writer.write(data)
            await writer.drain()
    finally:
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()


def main() -> None:
    """Run the proxy: python -m lab.proxy --port N --home DIR --aws HOST:PORT --azure HOST:PORT."""
    parser = argparse.ArgumentParser(prog="python -m lab.proxy")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--aws-port", type=int, required=True)
    parser.add_argument("--azure-port", type=int, required=True)
    options = parser.parse_args()
    os.umask(0o077)
    authority = CertificateAuthority(options.home / "ca")
    authority.write_bundle(options.home / "ca-bundle.pem")
    upstreams = {
        "aws": ("127.0.0.1", options.aws_port),
        "azure": ("127.0.0.1", options.azure_port),
    }
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Proxy(upstreams, authority).serve(options.port))


if __name__ == "__main__":
    main()
