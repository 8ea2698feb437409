"""Which browsers and which Host headers are let in (ollama-api 1.5 and 1.6), and who has the token."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from .head import RequestHead

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0")
_DEFAULT_SCHEMES = ("app://", "file://", "tauri://", "vscode-webview://", "vscode-file://")
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")

_ALLOWED_HEADERS = (
    "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,"
    "X-Stainless-Arch,X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,"
    "X-Stainless-Os,X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,X-Stainless-Runtime,"
    "X-Stainless-Runtime-Version,X-Stainless-Timeout"
)


class Origins:
    """The browser origins that may call: Ollama's defaults, and those of the settings."""

    def __init__(self, configured: Iterable[str]) -> None:
        patterns = [origin.strip() for origin in configured if origin.strip()]
        self._allows_all = "*" in patterns
        self._patterns = [re.compile(".*".join(map(re.escape, pattern.split("*"))), re.I) for pattern in patterns]

    def allows(self, origin: str) -> bool:
        """Whether a page of this origin may call."""
        if self._allows_all or origin.startswith(_DEFAULT_SCHEMES):
            return True
        if any(pattern.fullmatch(origin) for pattern in self._patterns):
            return True
        try:
            parts = urlsplit(origin)
            _ = parts.port
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.hostname in _LOCAL_HOSTS and not parts.path

    def answer_headers(self, origin: str) -> list[tuple[bytes, bytes]]:
        """The headers of an answer to an allowed origin."""
        if self._allows_all:
            return [(b"Access-Control-Allow-Origin", b"*")]
        return [(b"Access-Control-Allow-Origin", origin.encode("latin-1", "replace")), (b"Vary", b"Origin")]

    def preflight_headers(self, origin: str) -> list[tuple[bytes, bytes]]:
        """The headers of the answer to a preflight."""
        vary = [] if self._allows_all else [
            (b"Vary", b"Access-Control-Request-Headers"),
            (b"Vary", b"Access-Control-Request-Method"),
        ]  # fmt: skip
        return [
            *self.answer_headers(origin),
            *vary,
            (b"Access-Control-Allow-Headers", _ALLOWED_HEADERS.encode()),
            (b"Access-Control-Allow-Methods", b"GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"),
            (b"Access-Control-Max-Age", b"43200"),
        ]


def token_of(path: str) -> bytes:
    """The token in a file; empty where no file is named: then nobody is asked for one.

    :raises OSError: it cannot be read.
    :raises ValueError: it is empty. To serve everybody is not what somebody wants who has named a file.
    """
    if not path:
        return b""
    token = Path(path).read_bytes().strip()
    if not token:
        raise ValueError(f"server.token_file: {path} is empty")
    return token


def has_token(head: RequestHead, token: bytes) -> bool:
    """Whether a request carries the token: as `Authorization: Bearer`, or as `x-api-key`, where Anthropic's clients put
    it. The comparison takes as long for a wrong one as for the right one."""
    scheme, _, given = head.header(b"authorization").partition(" ")
    bearer = given if scheme.lower() == "bearer" else ""
    return any(
        [
            hmac.compare_digest(text.strip().encode("latin-1", "replace"), token)
            for text in (bearer, head.header(b"x-api-key"))
        ]
    )


def is_same_origin(origin: str, host: str) -> bool:
    """Whether the page came from this very server; then no rule of other origins applies."""
    return origin.partition("://")[2] == host


def is_loopback(address: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=256)
def allows_host(host: str) -> bool:
    """Whether a server on loopback takes a request for this Host: the guard against DNS rebinding."""
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    name = name.lower()
    if name in ("", "localhost", socket.gethostname().lower()) or name.endswith(_LOCAL_SUFFIXES):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified
