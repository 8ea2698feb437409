"""Questions to the services over HTTP: on the host with its curl, and from here as a client would ask."""

from __future__ import annotations

import ipaddress
import json
import shlex
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

# A model that is not in memory is loaded first; from a slow disk that takes a while.
TIMEOUT_S = 180
_TIMED_OUT = 124  # of timeout(1)
_HEADERS_END = "\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """What came back. `status` is 0 when nothing did; `body` then says why."""

    host: str
    question: str
    status: int
    content_type: str
    body: str

    @property
    def said(self) -> str:
        """For the person who reads the failure."""
        text = self.body if len(self.body) <= 600 else f"{self.body[:600]}… ({len(self.body)} characters)"
        return f"{self.host}: {self.question} " + (
            f"answered {self.status}: {text}" if self.status else f"got no answer: {text}"
        )

    def json(self, status: int = 200) -> Any:
        """The body as JSON; the test fails when the status is another or the body is none."""
        __tracebackhide__ = True
        if self.status != status:
            pytest.fail(f"{self.said}\n  expected: {status} with JSON", pytrace=False)
        try:
            return json.loads(self.body)
        except ValueError:
            pytest.fail(f"{self.said}\n  expected: JSON", pytrace=False)

    def frames(self) -> list[Any]:
        """The body as a stream of JSON lines, at least two of them; the test fails otherwise."""
        __tracebackhide__ = True
        try:
            frames = [json.loads(line) for line in self.body.splitlines()] if self.status == 200 else []
        except ValueError:
            frames = []
        if len(frames) < 2 or "x-ndjson" not in self.content_type:
            pytest.fail(
                f"{self.said} ({self.content_type})\n  expected: 200 and lines of JSON, x-ndjson", pytrace=False
            )
        return frames


@dataclass(frozen=True)
class Endpoint:
    """A server on a host. `run` executes a command there and returns exit status, stdout, stderr."""

    host: str
    base: str
    run: Callable[[str], tuple[int, str, str]]
    token_file: str = ""  # on the host; what clients must send
    timeout_s: int = TIMEOUT_S

    def get(self, path: str) -> Answer:
        return self._ask("GET", path)

    def head(self, path: str) -> Answer:
        return self._ask("HEAD", path, "--head")

    def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        return self.send(path, json.dumps(body))

    def send(self, path: str, text: str) -> Answer:
        """POST of a text that claims to be JSON."""
        return self._ask("POST", path, "--header", "Content-Type: application/json", "--data-binary", text)

    def _ask(self, method: str, path: str, *options: str) -> Answer:
        command = ["curl", "--silent", "--show-error", "--globoff", "--noproxy", "*", "--max-time", str(self.timeout_s)]
        url = self.base + path
        line = shlex.join([*command, "--include", *options, url])
        if self.token_file:  # over standard input: an argument could be seen by every user of the host
            header = r"""printf 'header = "Authorization: Bearer %s"\n'"""
            line = f'{header} "$(cat {self.token_file})" | {line} --config -'
        code, out, err = self.run(line)
        if code:
            return Answer(self.host, f"{method} {url}", 0, "", err.strip() or f"curl ended with status {code}")
        return parse_answer(self.host, f"{method} {url}", out)


def seen_of(host: str, url: str, run: Callable[[str], tuple[int, str, str]], timeout_s: int) -> str:
    """What the host sees of a URL: "200" or another status, "open" for a tcp:// one, else why there was no answer."""
    if url.startswith("tcp://"):
        address, _, port = url.removeprefix("tcp://").rpartition(":")
        open_it = shlex.join(
            ["timeout", str(timeout_s), "bash", "-c", 'exec 3<>"/dev/tcp/$0/$1"', address.strip("[]"), port]
        )
        code, _, err = run(open_it)
        if code == _TIMED_OUT:
            return f"no answer within {timeout_s} s"
        return f"no answer: {_last_line(err).rpartition(': ')[2]}" if code else "open"
    answer = Endpoint(host, url, run, timeout_s=timeout_s).get("")
    return str(answer.status) if answer.status else f"no answer: {_last_line(answer.body)}"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing was said"])[-1]


def parse_answer(host: str, question: str, text: str) -> Answer:
    """What `curl --include` printed: head and body; interim answers (100 Continue) are skipped."""
    head, _, body = text.partition(_HEADERS_END)
    while head.startswith("HTTP/") and head.split()[1].startswith("1") and body.startswith("HTTP/"):
        head, _, body = body.partition(_HEADERS_END)
    status_line, *lines = head.splitlines()
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(host, question, int(status_line.split()[1]), headers.get("content-type", ""), body)


def ask_from_here(host: str, url: str) -> Answer:
    """GET as a client on the controller's side of the network would, without a proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    question = f"GET {url} from this machine"
    try:
        with opener.open(url, timeout=10) as answer:
            return Answer(host, question, answer.status, answer.headers.get("Content-Type", ""), answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(host, question, error.code, "", error.read(600).decode(errors="replace"))
    except OSError as error:
        return Answer(host, question, 0, "", str(getattr(error, "reason", error)))


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def is_any(address: str) -> bool:
    """Whether a server that listens on `address` answers on every address of the host."""
    return ipaddress.ip_address(address).is_unspecified


def url_of(address: str, port: int) -> str:
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
