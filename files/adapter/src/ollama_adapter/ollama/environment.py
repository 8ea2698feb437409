"""The variables that configure an Ollama server, read as it reads them (ollama-api 1.7; envconfig/config.go of Ollama).

Pure: texts in, settings out. What Ollama cannot read it takes for the default, and says so; the same is done here.
"""

from __future__ import annotations

import ipaddress
import logging
import re

from .times import DurationError, parse_duration

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 11434
_PORT_OF_SCHEME = {"http": 80, "https": 443}
_NUMBER = re.compile(r"[+-]?[0-9]+")
_log = logging.getLogger(__name__)


def value(text: str) -> str:
    """A variable without the blanks and quotation marks around it: a service file often has some too many."""
    return text.strip().strip("\"'")


def listening_at(text: str) -> tuple[str, int]:
    """Host and port of OLLAMA_HOST: an address, a name, `:port`, or a URL, whose scheme then decides the default port.

    An empty host (of `:11500`) stands for every address, an empty text for Ollama's default.
    """
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        scheme, rest = "", scheme
    default = _PORT_OF_SCHEME.get(scheme, DEFAULT_PORT)
    host_and_port = rest.partition("/")[0]
    parts = _split(host_and_port)
    if parts is None:
        return _address(host_and_port.strip("[]")) or host_and_port or DEFAULT_HOST, default
    host, port = parts
    if not _NUMBER.fullmatch(port) or not 0 <= int(port) <= 65535:
        _log.warning("OLLAMA_HOST: %r is not a port, %d is taken", port, default)
        return host, default
    return host, int(port)


def origins(text: str) -> list[str]:
    """The browser origins of OLLAMA_ORIGINS, which come before the defaults."""
    return [origin.strip() for origin in text.split(",") if origin.strip()]


def keep_alive(text: str) -> str:
    """OLLAMA_KEEP_ALIVE as a duration: a number is seconds, a negative one means for ever. Empty for what
    is neither."""
    try:
        parse_duration(text)
    except DurationError as error:
        if _NUMBER.fullmatch(text):
            return f"{int(text)}s"
        if text:
            _log.warning("OLLAMA_KEEP_ALIVE: %s; the default is taken", error)
        return ""
    return text


def _split(text: str) -> tuple[str, str] | None:
    """Host and port, as Go's net.SplitHostPort takes them apart; None where that is an error."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    return None if not colon or set("[]") & set(host + port) else (host, port)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
