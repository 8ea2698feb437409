"""The `ollama` command: its subcommands, messages and exit statuses."""

from __future__ import annotations

import base64
import http.client
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from . import server, settings
from .version import VERSION

USAGE = """Usage:
  ollama [flags]
  ollama [command]

Available Commands:
  serve       Start Ollama
  show        Show information for a model
  run         Run a model
  stop        Stop a running model
  pull        Pull a model from a registry
  list        List models
  ps          List running models
  cp          Copy a model
  rm          Remove a model

(stand-in of the lab)"""
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
NO_SERVER = "could not connect to ollama server, run 'ollama serve' to start it"


class Failure(Exception):
    """Printed as `Error: …`; the status is 1."""


def call(method: str, path: str, body: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """The objects of an answer, one by one. Raises Failure with the server's text."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(settings.from_environment().url + path, data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            for line in answer:
                if not line.strip():
                    continue
                value = json.loads(line)
                if "error" in value:
                    raise Failure(value["error"])
                yield value
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        try:
            message = json.loads(text)["error"]
        except (ValueError, KeyError):
            message = text.strip()
        raise Failure(message) from None
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError):
        raise Failure(NO_SERVER) from None


def one(method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The last object of an answer, or an empty one."""
    return (list(call(method, path, body)) or [{}])[-1]


def size_text(size: float) -> str:
    """Decimal units with two or three figures, as Ollama prints them."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size >= factor:
            value = size / factor
            return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
    return f"{size:.0f} B"


def ago(moment: datetime) -> str:
    """A time relative to now, past or future, in the largest whole unit."""
    seconds = (datetime.now(settings.UTC) - moment).total_seconds()
    if seconds < -100 * 365 * 86400:
        return "Forever"
    tail = "ago" if seconds >= 0 else "from now"
    for unit, length in (("week", 604800), ("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count = int(abs(seconds) // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} {tail}"
    return "Less than a second ago"


def table(header: list[str], rows: list[list[str]]) -> None:
    """Columns four blanks apart."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        print("    ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "    ")


def moment(text: str) -> datetime:
    """A time of the API. Python 3.10 reads neither Z nor more or fewer than six digits."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{(fraction + '000000')[:6]}+00:00")


def list_models(arguments: list[str]) -> None:
    prefix = arguments[0].lower() if arguments else ""
    rows = [
        [model["name"], model["digest"][:12], size_text(model["size"]), ago(moment(model["modified_at"]))]
        for model in one("GET", "/api/tags")["models"]
        if model["name"].lower().startswith(prefix)
    ]
    table(["NAME", "ID", "SIZE", "MODIFIED"], rows)


def ps(arguments: list[str]) -> None:
    rows = []
    for model in one("GET", "/api/ps")["models"]:
        share = "100% GPU" if model["size_vram"] == model["size"] else "100% CPU"
        size, context = size_text(model["size"]), str(model["context_length"])
        rows.append([model["name"], model["digest"][:12], size, share, context, ago(moment(model["expires_at"]))])
    table(["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"], rows)


def show(arguments: list[str]) -> None:
    name, flags = _named(arguments)
    answer = one("POST", "/api/show", {"model": name})
    for part in ("modelfile", "template", "parameters", "license", "system"):
        if f"--{part}" in flags:
            print(answer.get(part, ""))
            return
    details = answer["details"]
    print(f"  Model\n    architecture        {answer['model_info'].get('general.architecture', '')}")
    print(f"    parameters          {details['parameter_size']}")
    print(f"    quantization        {details['quantization_level']}")
    print("\n  Capabilities\n" + "".join(f"    {capability}\n" for capability in answer["capabilities"]))


def pull(arguments: list[str]) -> None:
    name, flags = _named(arguments)
    shown = ""
    for state in call("POST", "/api/pull", {"model": name, "insecure": "--insecure" in flags}):
        if state["status"] != shown:
            shown = state["status"]
            print(shown, file=sys.stderr)


def run(arguments: list[str]) -> None:
    name, flags = _named(arguments)
    words = [word for word in arguments if not word.startswith("-")][1:]
    prompt = " ".join(words) if words else ("" if sys.stdin.isatty() else sys.stdin.read().strip())
    # Paths of pictures in the prompt become images, as in the real command.
    pictures = [word for word in words if Path(word).suffix.lower() in PICTURES and Path(word).is_file()]
    images = [base64.b64encode(Path(picture).read_bytes()).decode() for picture in pictures]
    body = {"model": name, "prompt": prompt, "images": images}
    try:
        one("POST", "/api/show", {"model": name})
    except Failure as failure:
        if "not found" not in str(failure):
            raise
        pull([name, *flags])
    for state in call("POST", "/api/generate", body):
        print(state["response"], end="", flush=True)
    if prompt:
        print("\n")


def stop(arguments: list[str]) -> None:
    name, _ = _named(arguments)
    try:
        one("POST", "/api/generate", {"model": name, "keep_alive": 0})
    except Failure as failure:
        if "not found" in str(failure):
            raise Failure(f'couldn\'t find model "{name}" to stop') from None
        raise


def copy(arguments: list[str]) -> None:
    if len(arguments) != 2:
        raise Failure(f"accepts 2 arg(s), received {len(arguments)}")
    one("POST", "/api/copy", {"source": arguments[0], "destination": arguments[1]})
    print(f"copied '{arguments[0]}' to '{arguments[1]}'")


def remove(arguments: list[str]) -> None:
    if not arguments:
        raise Failure("requires at least 1 arg(s), only received 0")
    for name in arguments:
        one("DELETE", "/api/delete", {"model": name})
        print(f"deleted '{name}'")


def version() -> None:
    """The server's version, the client's where they differ, and that this is a stand-in."""
    try:
        running = one("GET", "/api/version")["version"]
        print(f"ollama version is {running}")
    except Failure:
        running = ""
        print("Warning: could not connect to a running Ollama instance")
    if running != VERSION:
        print(f"Warning: client version is {VERSION}")
    print("(stand-in of the lab)")


def _named(arguments: list[str]) -> tuple[str, set[str]]:
    names = [argument for argument in arguments if not argument.startswith("-")]
    if not names:
        raise Failure("accepts 1 arg(s), received 0")
    return names[0], {argument for argument in arguments if argument.startswith("-")}


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "list": list_models, "ls": list_models, "ps": ps, "show": show, "pull": pull, "run": run, "stop": stop,
    "cp": copy, "rm": remove,
}  # fmt: skip


def main(arguments: list[str]) -> int:
    """Run one command; the exit status of the real program."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    if arguments[0] in ("-v", "--version"):
        version()
        return 0
    command, *rest = arguments
    if command in ("serve", "start"):
        return server.serve(settings.from_environment())
    try:
        if command not in COMMANDS:
            raise Failure(f'unknown command "{command}" for "ollama"')
        COMMANDS[command](rest)
    except Failure as failure:
        print(f"Error: {failure}", file=sys.stderr)
        return 1
    return 0
