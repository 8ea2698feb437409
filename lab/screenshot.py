"""Take a picture of a page: a file or a URL in, a small PNG out, through Debian's Chromium without a screen."""

from __future__ import annotations

import argparse
import base64
import json
import re
import struct
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.devtools import BrowserFailed, Page, opened
from lab.errors import LabError
from lab.shell import run

EXAMPLES = """\
examples:
  python -m lab.screenshot reports/verify/report.html docs/images/verify-report.png --full-page
  python -m lab.screenshot http://10.231.24.2:3000/d/overview?kiosk overview.png --width 1600 --height 1000 --wait-ms 5000
  python -m lab.screenshot http://10.231.24.2:3000/ start.png --wait-for '.panel-title'

The browser is installed once, when a picture is wanted (as root):
  python3 -m lab.prerequisites pictures

Nothing but the page is asked for. A page that does not answer, answers with an error or shows nothing is no picture: the
command says why and ends with 1, and OUT.png stays as it was. Pictures have 256 colours at most, which keeps them small.
"""
MAX_HEIGHT = 8000  # of a whole page; more is no picture that anybody looks at
_PNG = b"\x89PNG\r\n\x1a\n"
_POLL_S = 0.2


class NoPicture(LabError):
    """The page could not be shown, or showed nothing."""


@dataclass(frozen=True)
class View:
    """How to look at the page."""

    width: int = 1280
    height: int = 800
    wait_ms: int = 500
    wait_for: str | None = None  # a CSS selector that has to be there first
    is_full_page: bool = False
    is_dark: bool = False
    scale: float = 1.0
    timeout_s: float = 60.0


def address_of(page: str) -> str:
    """The URL of what was typed: URLs stay, everything else is a file that has to be there."""
    if re.match(r"[a-z][a-z0-9+.-]*://", page):
        return page
    path = Path(page)
    if not path.is_file():
        raise NoPicture(f"taking a picture of {page}", "there is no such file", f"ls -l {path.parent}")
    return path.resolve().as_uri()


def problem_of(address: str, navigated: dict[str, Any], responses: list[dict[str, Any]]) -> str | None:
    """Why a page cannot be shown; None if it can.

    :param navigated: the browser's answer to Page.navigate. :param responses: its events Network.responseReceived.
    """
    if error := navigated.get("errorText"):
        return f"the browser says {error}"
    for response in responses:
        if response.get("type") == "Document" and response["loaderId"] == navigated.get("loaderId"):
            status = int(response["response"]["status"])
            if status >= 400:
                return f"it answered {status} {response['response'].get('statusText', '')}".rstrip()
    return None


def colours(png: bytes) -> int | None:
    """How many colours the palette of a PNG has; None if it has no palette. Raises ValueError when it is no PNG."""
    if not png.startswith(_PNG):
        raise ValueError("not a PNG")
    at = len(_PNG)
    while at + 8 <= len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        if kind == b"PLTE":
            return int(length) // 3
        at += 12 + length
    return None


def smaller(png: bytes) -> bytes:
    """The same picture with a palette (pngquant), several times smaller."""
    with tempfile.TemporaryDirectory(prefix="llm-lab-picture-") as directory:
        before, after = Path(directory, "before.png"), Path(directory, "after.png")
        before.write_bytes(png)
        run("pngquant", "--speed", "1", "--strip", "--output", str(after), "256", "--", str(before))
        return after.read_bytes()


def take(page: str, view: View) -> bytes:
    """A picture of a page, as PNG. Raises NoPicture or BrowserFailed."""
    address, doing = address_of(page), f"taking a picture of {page}"
    with opened(view.timeout_s) as tab:
        tab.call("Page.enable")
        tab.call("Network.enable")
        _set_size(tab, view, view.height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if view.is_dark else "light"}
        tab.call("Emulation.setEmulatedMedia", features=[scheme])
        navigated = tab.call("Page.navigate", url=address)
        if "errorText" not in navigated:
            tab.wait_for("Page.loadEventFired")
        if problem := problem_of(address, navigated, tab.seen("Network.responseReceived")):
            raise NoPicture(doing, problem, f"curl -sv -o /dev/null {address}")
        if view.wait_for:
            _wait_for(tab, view, doing)
        time.sleep(view.wait_ms / 1000)
        if view.is_full_page:
            size = tab.call("Page.getLayoutMetrics")["cssContentSize"]
            _set_size(tab, view, min(max(int(size["height"]) + 1, 1), MAX_HEIGHT))
        picture = smaller(base64.b64decode(tab.call("Page.captureScreenshot", format="png")["data"]))
    if colours(picture) == 1:
        raise NoPicture(doing, "the picture has one colour: the page shows nothing yet", "give it a longer --wait-ms")
    return picture


def _set_size(tab: Page, view: View, height: int) -> None:
    tab.call(
        "Emulation.setDeviceMetricsOverride",
        width=view.width,
        height=height,
        deviceScaleFactor=view.scale,
        mobile=False,
    )


def _wait_for(tab: Page, view: View, doing: str) -> None:
    """Until the page has what the selector names."""
    while not tab.evaluate(f"document.querySelector({json.dumps(view.wait_for)}) !== null"):
        if tab.left_s < 2 * _POLL_S:
            cause = f"nothing in it matches {view.wait_for!r} after {view.timeout_s:.0f} s"
            raise NoPicture(doing, cause, "look at it without --wait-for")
        time.sleep(_POLL_S)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m lab.screenshot",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("page", metavar="URL-or-file")
    top.add_argument("picture", metavar="OUT.png", type=Path)
    top.add_argument(
        "--width", type=int, default=View.width, metavar="W", help="of the window, in pixels (%(default)s)"
    )
    top.add_argument("--height", type=int, default=View.height, metavar="H", help="of the window (%(default)s)")
    top.add_argument("--full-page", action="store_true", help=f"as high as the page is, {MAX_HEIGHT} at most")
    top.add_argument(
        "--wait-ms", type=int, default=View.wait_ms, metavar="N", help="after the page was loaded (%(default)s)"
    )
    top.add_argument("--wait-for", metavar="SELECTOR", help="until the page has this, a CSS selector; then --wait-ms")
    top.add_argument("--dark", action="store_true", help="as somebody sees it who prefers dark pages")
    top.add_argument("--scale", type=float, default=View.scale, metavar="X", help="pixels for each pixel (%(default)s)")
    top.add_argument(
        "--timeout", type=float, default=View.timeout_s, metavar="S", help="for all of it, in seconds (%(default)s)"
    )
    return top


def main(arguments: list[str]) -> int:
    """Take the picture. Exit status as of a command."""
    options = parser().parse_args(arguments)
    view = View(
        width=options.width,
        height=options.height,
        wait_ms=options.wait_ms,
        wait_for=options.wait_for,
        is_full_page=options.full_page,
        is_dark=options.dark,
        scale=options.scale,
        timeout_s=options.timeout,
    )
    try:
        picture = take(options.page, view)
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    options.picture.write_bytes(picture)
    print(f"{options.picture}: {len(picture) // 1024 + 1} KiB", file=sys.stderr)
    return 0


__all__ = ["BrowserFailed", "NoPicture", "View", "main", "take"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
