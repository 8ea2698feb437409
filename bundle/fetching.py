"""Answers and files over HTTP. A file that stopped half-way goes on at its last byte, and counts only once it is the right one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from bundle.artefacts import Artefact
from bundle.errors import BundleError

Answer = TypeVar("Answer")
Report = Callable[[str], None]
TRIES = 4
TIMEOUT_S = 60.0  # without a byte
PROGRESS_S = 5.0
CHECK = "is it reachable from this machine (curl -I; proxies: HTTPS_PROXY)? Then the same again: what came is kept"


class Web:
    """A session: connections are kept, proxies and certificates are those of the environment (HTTPS_PROXY, SSL_CERT_FILE).

    A token goes to the host it was given for; httpx drops it when a redirect leads elsewhere.
    """

    def __init__(self, report: Report, pause_s: float = 2.0) -> None:
        self._client = httpx.Client(follow_redirects=True, timeout=TIMEOUT_S)
        self._report, self._pause_s = report, pause_s

    def __enter__(self) -> Web:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def ask(self, url: str, token: str | None = None, accept: str = "") -> httpx.Response:
        """The answer to a GET, whatever its status. Raises BundleError when none comes in several tries."""
        headers = _headers(token) | ({"Accept": accept} if accept else {})

        def once() -> httpx.Response:
            answer = self._client.get(url, headers=headers)
            if answer.status_code >= 500:
                raise _TryAgain(f"answered {answer.status_code}")
            return answer

        return self._patiently(url, once)

    def get(self, url: str, token: str | None = None, accept: str = "") -> httpx.Response:
        """The answer to a GET. Raises BundleError unless it is a 200."""
        answer = self.ask(url, token, accept)
        if answer.status_code != 200:
            raise BundleError(url, f"answered {answer.status_code}", CHECK)
        return answer

    def exists(self, url: str) -> bool:
        """Whether a HEAD is answered with 200. Raises BundleError when there is no answer."""
        return self._patiently(url, lambda: self._client.head(url).status_code) == 200

    def download(self, artefact: Artefact, target: Path) -> None:
        """Have `target` be the artefact. Raises BundleError when it cannot be had or is another file than announced."""
        part = part_of(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        if artefact.content is not None:
            part.write_bytes(artefact.content)
        else:
            self._patiently(artefact.url, lambda: self._append(artefact, part), lambda: size_of(part))
            if problem := artefact.problem_of(part):
                part.unlink()
                raise BundleError(
                    artefact.url, f"what came {problem}; it was thrown away",
                    "run make again; if it comes again, the source or a proxy has another file than its index says",
                )  # fmt: skip
        part.replace(target)

    def _append(self, artefact: Artefact, part: Path) -> None:
        """Fetch what `part` lacks. A server that cannot continue sends all of it again."""
        have = size_of(part)
        if artefact.size is not None and have >= artefact.size:
            return  # complete; or too long, which the check says
        headers = _headers(artefact.token) | {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with self._client.stream("GET", artefact.url, headers=headers) as answer:
            if answer.status_code == 416:  # nothing behind what we have: the size was not known, the check decides
                return
            if answer.status_code >= 500:
                raise _TryAgain(f"answered {answer.status_code}")
            if answer.status_code not in (200, 206):
                raise BundleError(artefact.url, f"answered {answer.status_code}", CHECK)
            goes_on = answer.status_code == 206 and answer.headers.get("content-range", "").startswith(f"bytes {have}-")
            if answer.status_code == 206 and not goes_on:
                part.unlink(missing_ok=True)
                raise _TryAgain("continued at another byte than asked for")
            self._write(artefact, answer, part, have if goes_on else 0)

    def _write(self, artefact: Artefact, answer: httpx.Response, part: Path, have: int) -> None:
        promised = answer.headers.get("content-length")
        told, came = time.monotonic(), 0
        with part.open("ab" if have else "wb") as file:
            for block in answer.iter_raw():  # as it comes: what waits in a buffer is lost with the connection
                file.write(block)
                came += len(block)
                if time.monotonic() - told > PROGRESS_S:
                    told = time.monotonic()
                    of = f" of {artefact.size / 1e6:,.0f}" if artefact.size else ""
                    self._report(f"  {artefact.path}: {(have + came) / 1e6:,.0f}{of} MB")
        if promised is not None and came < int(promised):
            raise _TryAgain(f"{came} of {promised} bytes came")

    def _patiently(self, url: str, do: Callable[[], Answer], came: Callable[[], int] = lambda: 0) -> Answer:
        """`do`, again after a pause when the network or the server was at fault; what came is kept between tries.

        :param came: bytes that are here; a try that brought some does not count against the bound.
        """
        seen, attempt, had = "", 0, came()
        while attempt < TRIES:
            if seen:
                self._report(f"  {url}: {seen}; again")
                time.sleep(self._pause_s * max(1, attempt))
            try:
                return do()
            except _TryAgain as problem:
                seen = str(problem)
            except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as problem:
                raise BundleError(url, str(problem), "correct the setting that names it") from None
            except httpx.RequestError as problem:
                seen = str(problem) or type(problem).__name__
            attempt = attempt + 1 if came() <= had else 0
            had = max(had, came())
        raise BundleError(url, f"{seen} ({TRIES} tries)", CHECK)


class _TryAgain(Exception):
    """The server's fault, which may pass."""


def have(artefact: Artefact, root: Path, web: Web) -> int:
    """Have the artefact in its place below `root`; bytes that came. What is there already, and right, stays."""
    target = root / artefact.path
    if artefact.is_at(target):
        return 0
    web.download(artefact, target)
    return size_of(target)


def json_of(answer: httpx.Response) -> Any:
    """Its JSON. Raises BundleError for anything else, as a portal that wants a login answers."""
    try:
        return answer.json()
    except ValueError:
        raise BundleError(str(answer.url), "answered something that is not JSON", "is that the right server?") from None


def part_of(target: Path) -> Path:
    """Where a file lies until it is whole and right."""
    return target.with_name(f"{target.name}.part")


def size_of(file: Path) -> int:
    """In bytes; 0 where there is none."""
    return file.stat().st_size if file.exists() else 0


def _headers(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}
