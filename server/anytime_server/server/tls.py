"""The server's certificate: loaded before the model is, and again on request."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from anytime_server.errors import UnusableOption

logger = logging.getLogger(__name__)


class Tls:
    """Files of the certificate, and the context in use."""

    def __init__(
        self, *, cert: str, key: str | None = None, password: str | None = None, client_ca: str | None = None
    ) -> None:
        """
        Args:
            cert: PEM file of the certificate and its chain.
            key: PEM file of the private key; None if `cert` also has the key.
            password: of the private key.
            client_ca: PEM file of authorities; clients need a certificate from one of them.

        Raises:
            UnusableOption: a file is missing or damaged, or the parts do not fit; names the option.
        """
        self._cert = cert
        self._key = key
        self._password = password
        self._client_ca = client_ca
        self.context = self._load()

    def reload(self) -> None:
        """Read certificate and key again, for new connections. Broken files are logged and change nothing."""
        try:
            self._load()
            self.context.load_cert_chain(self._cert, self._key, self._give_password)
        except (UnusableOption, OSError, ValueError) as error:  # they may change between the two
            logger.error("the certificate stays as it was: %s", error)
        else:
            logger.info("the certificate was read again, for new connections")

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for option, path in (
            ("tls-cert", self._cert),
            ("tls-key", self._key),
            ("tls-client-ca", self._client_ca),
        ):
            if path is not None:
                _check_readable(option, path)
        try:
            context.load_cert_chain(self._cert, self._key, self._give_password)
        except (ssl.SSLError, ValueError) as error:
            is_encrypted = b"ENCRYPTED" in Path(self._key or self._cert).read_bytes()
            reason = "--tls-key-password is missing or wrong" if is_encrypted else _describe(error)
            if self._key is None and not is_encrypted:
                reason = "the file must be PEM, with the certificate and its private key; or give --tls-key"
            raise UnusableOption(f"--tls-cert, --tls-key: {reason}") from error
        if self._client_ca is not None:
            try:
                context.load_verify_locations(self._client_ca)
            except ssl.SSLError as error:
                raise UnusableOption(f"--tls-client-ca: {self._client_ca}: {_describe(error)}") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _give_password(self) -> str:
        """Without this, OpenSSL would ask at the terminal."""
        return self._password or ""


def _check_readable(option: str, path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise UnusableOption(f"--{option}: {path}: {error.strerror}") from error


def _describe(error: ssl.SSLError | ValueError) -> str:
    reason = getattr(error, "reason", None)
    match reason:
        case "KEY_VALUES_MISMATCH":
            return "the key does not belong to the certificate"
        case "NO_START_LINE" | None:
            return "the files must be PEM: a certificate and its private key"
    return str(reason).lower().replace("_", " ")
