"""What a `kafka://` URL says, checked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from paaplus.errors import ConfigError

PASSWORD_VARIABLE = "PAAPLUS_KAFKA_PASSWORD"  # noqa: S105 - the variable's name, not a password

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_TIMES = ("session_timeout_ms", "heartbeat_interval_ms")
_TLS_FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile")
_OPTIONS = (*_TIMES, "security_protocol", "sasl_mechanism", "sasl_username", *_TLS_FILES)


class _Secret(str):
    """A password that does not show in a printed configuration; kafka-python logs its own."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where the brokers are and how to talk to them.

    Args:
        servers: `host:port` of one or more brokers.
        namespace: Put before every topic's name, with a dot.
        session_timeout_ms: After which a member of a group that has died is replaced.
        heartbeat_interval_ms: Well below that.
        security_protocol: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
        sasl_mechanism: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
        sasl_username: With SASL.
        password: With SASL.
        tls_files: `ssl_cafile`, `ssl_certfile`, `ssl_keyfile` and their paths.
    """

    servers: tuple[str, ...]
    namespace: str = "paaplus"
    session_timeout_ms: int = 10_000
    heartbeat_interval_ms: int = 3_000
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls_files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_url(cls, url: str, environ: Mapping[str, str] | None = None) -> Self:
        """Read a URL; the password comes from the environment.

        Args:
            url: `kafka://host:port[,host:port][/namespace][?option=value&…]`.
            environ: In place of the process's environment.

        Raises:
            ConfigError: It has a password in it, an unknown option, or one that cannot be used. The
                message never repeats the URL.
        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if "@" in parts.netloc or any("password" in name for name in options):
            raise ConfigError(
                "log: a Kafka URL may not hold credentials, since URLs are logged and stored",
                f"name the user with ?sasl_username=… and set the password in {PASSWORD_VARIABLE}",
            )
        unknown = sorted(set(options) - set(_OPTIONS))
        if unknown:
            raise ConfigError(
                f"log: unknown option {unknown[0]!r} in the Kafka URL",
                f"options are {', '.join(_OPTIONS)}",
            )
        namespace = parts.path.strip("/") or "paaplus"
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", namespace):
            raise ConfigError(
                f"log: {namespace!r} cannot be the namespace of Kafka topics",
                "use at most 128 of the characters A-Z a-z 0-9 . _ -",
            )
        session = _milliseconds(options, "session_timeout_ms", 10_000)
        heartbeat = _milliseconds(options, "heartbeat_interval_ms", min(3_000, session // 3))
        if heartbeat >= session:
            raise ConfigError(
                f"log: heartbeat_interval_ms {heartbeat} is not below session_timeout_ms {session}",
                "a third of the session timeout is usual",
            )
        protocol = _choice(options, "security_protocol", _PROTOCOLS, "PLAINTEXT")
        sasl = protocol.startswith("SASL")
        password = (os.environ if environ is None else environ).get(PASSWORD_VARIABLE)
        user = options.get("sasl_username")
        if sasl and not (user and password):
            raise ConfigError(
                f"log: {protocol} needs a user and a password",
                f"add sasl_username=… to the URL and set {PASSWORD_VARIABLE}",
            )
        if not sasl and (user or "sasl_mechanism" in options):
            raise ConfigError(
                f"log: a SASL user or mechanism has no effect with {protocol}",
                "add security_protocol=SASL_SSL to the URL, or leave them out",
            )
        return cls(
            servers=_servers(parts.netloc),
            namespace=namespace,
            session_timeout_ms=session,
            heartbeat_interval_ms=heartbeat,
            security_protocol=protocol,
            sasl_mechanism=_choice(options, "sasl_mechanism", _MECHANISMS, "PLAIN")
            if sasl
            else None,
            sasl_username=user,
            password=password if sasl else None,
            tls_files=_tls_files(options, protocol),
        )

    @property
    def identity(self) -> str:
        """URL of the log, without options: it names positions in the store."""
        return f"kafka://{','.join(self.servers)}/{self.namespace}"

    def topic(self, name: str) -> str:
        """Name of a topic on the broker."""
        return f"{self.namespace}.{name}"

    def client_config(self) -> dict[str, Any]:
        """Keyword arguments of kafka-python's clients."""
        config: dict[str, Any] = {
            "bootstrap_servers": list(self.servers),
            "security_protocol": self.security_protocol,
            **self.tls_files,
        }
        if self.sasl_mechanism is not None:
            config["sasl_mechanism"] = self.sasl_mechanism
            config["sasl_plain_username"] = self.sasl_username
            config["sasl_plain_password"] = _Secret(self.password or "")
        return config


def _servers(netloc: str) -> tuple[str, ...]:
    servers = tuple(netloc.split(","))
    for server in servers:
        host, _, port = server.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ConfigError(
                f"log: {server!r} is no broker's address",
                "write kafka://host:port, with commas between several",
            )
    return servers


def _milliseconds(options: Mapping[str, str], name: str, default: int) -> int:
    text = options.get(name, str(default))
    if not text.isdecimal() or not 0 < int(text) <= 3_600_000:
        raise ConfigError(f"log: {name} is {text!r}", "give milliseconds, 1 to 3600000")
    return int(text)


def _choice(options: Mapping[str, str], name: str, choices: tuple[str, ...], default: str) -> str:
    value = options.get(name, default).upper()
    if value not in choices:
        raise ConfigError(f"log: {name} is {value!r}", f"one of {', '.join(choices)}")
    return value


def _tls_files(options: Mapping[str, str], protocol: str) -> dict[str, str]:
    files = {name: options[name] for name in _TLS_FILES if name in options}
    for name, path in files.items():
        if not protocol.endswith("SSL"):
            raise ConfigError(
                f"log: {name} has no effect with {protocol}",
                "add security_protocol=SSL to the URL, or leave it out",
            )
        if not Path(path).is_file():
            raise ConfigError(f"log: {name} {path!r} is no file", "name a PEM file")
    return files
