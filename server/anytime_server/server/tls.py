"""The server's certificate: loaded before the model is, and again on request."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from anytime_server.errors import UnusableOption

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files of the certificate, and the context in use."""

    cert: str
    key: str | None = None
    """None where the file of the certificate also has the key."""
    password: str | None = field(default=None, repr=False)
    client_ca: str | None = None
    """Clients need a certificate that one of these authorities signed."""
    context: ssl.SSLContext = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """
        Raises:
            UnusableOption: a file is missing or damaged, or the parts do not fit; names the option.
        """
        object.__setattr__(self, "context", self._load())

    def reload(self) -> None:
        """Read the files again, for new connections. Broken files are logged and change nothing."""
        try:
            self._load()
        except UnusableOption as error:
            logger.error("the certificate stays as it was: %s", error)
        else:
            self.context.load_cert_chain(self.cert, self.key, self._give_password)
            logger.info("the certificate was read again, for new connections")

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for option, path in (
            ("tls-cert", self.cert),
            ("tls-key", self.key),
            ("tls-client-ca", self.client_ca),
        ):
            if path is not None:
                _check_readable(option, path)
        try:
            context.load_cert_chain(self.cert, self.key, self._give_password)
        except (ssl.SSLError, ValueError) as error:
            is_encrypted = b"ENCRYPTED" in Path(self.key or self.cert).read_bytes()
            reason = "--tls-key-password is missing or wrong" if is_encrypted else _describe(error)
            if self.key is None and not is_encrypted:
                reason = "the file must be PEM, with the certificate and its private key; or give --tls-key"
            raise UnusableOption(f"--tls-cert, --tls-key: {reason}") from error
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except ssl.SSLError as error:
                raise UnusableOption(f"--tls-client-ca: {self.client_ca}: {_describe(error)}") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _give_password(self) -> str:
        """Without this, OpenSSL would ask at the terminal."""
        return self.password or ""


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
