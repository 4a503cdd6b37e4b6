"""TLS, with certificates that are read again when they are renewed.

gRPC asks for the certificate at every handshake, so a renewed file is used by the next connection; the HTTP port's
context is loaded again the same way. A renewed file that cannot be used changes nothing.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from limbeck_server.trust.errors import CertificateError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ServerTls:
    """Where a server's certificate is.

    Args:
        certificate: PEM, with the chain.
        key: PEM, without a passphrase.
        client_ca: PEM; a client must then show a certificate of this authority. None asks for none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Credentials of a gRPC server that follow the files.

        Raises:
            CertificateError: They cannot be used now.
        """
        files = _Followed(self)
        return grpc.dynamic_ssl_server_credentials(
            files.configuration(), files.renewed, require_client_authentication=self.client_ca is not None
        )

    def http_context(self) -> ssl.SSLContext:
        """A context for an HTTPS server; it also wants a client's certificate where gRPC does.

        A renewed certificate is noticed by one connection and used from the next.

        Raises:
            CertificateError: The files cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        files = _Followed(self)
        files.configuration()
        self._load(context)

        def follow(_socket: ssl.SSLObject, _name: str | None, context: ssl.SSLContext) -> None:
            if files.renewed() is not None:
                self._load(context)

        context.sni_callback = follow
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self.certificate, self.key)
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED


class _Followed:
    """The files of a `ServerTls`, and whether they have changed since they were last used."""

    def __init__(self, tls: ServerTls) -> None:
        self._tls = tls
        self._version: tuple[tuple[int, int], ...] = ()

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """What is in the files now; CertificateError if that cannot be used."""
        tls = self._tls
        try:
            self._version = self._look()
            check = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            check.load_cert_chain(tls.certificate, tls.key, password=_no_passphrase)
            if tls.client_ca is not None:
                check.load_verify_locations(tls.client_ca)
            authority = tls.client_ca.read_bytes() if tls.client_ca is not None else None
            pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
        except (OSError, ValueError) as error:
            raise CertificateError(
                f"cannot use certificate {tls.certificate} with key {tls.key}"
                + (f" and client authority {tls.client_ca}" if tls.client_ca else "")
                + f": {getattr(error, 'strerror', None) or error}"
            ) from error
        return grpc.ssl_server_certificate_configuration([pair], authority)

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """What is in the files, if they have changed to something that can be used."""
        try:
            if self._look() == self._version:
                return None
            configuration = self.configuration()
        except (OSError, CertificateError) as error:
            _log.error("certificate_unusable kept=old error=%s", error)
            return None
        _log.info("certificate_renewed path=%s", self._tls.certificate)
        return configuration

    def _look(self) -> tuple[tuple[int, int], ...]:
        files = [self._tls.certificate, self._tls.key, *([self._tls.client_ca] if self._tls.client_ca else [])]
        return tuple((status.st_mtime_ns, status.st_ino) for status in (path.stat() for path in files))


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase; nobody is there to type it")
