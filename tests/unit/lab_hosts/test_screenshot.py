"""Pictures of pages: what is no picture says why. With a browser where this machine has one."""

from __future__ import annotations

import http.server
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import devtools, pictures, prerequisites
from lab.pyinfra_run import ROOT
from lab.screenshot import NoPicture, address_of, colours, main, problem_of

browser = pytest.mark.skipif(
    bool(prerequisites.wanted_for_pictures()), reason="no browser; python3 -m lab.prerequisites pictures"
)
PAGE = "<html><body style='background:#fff'><h1>A page</h1><p style='height:1500px'>long</p><p id=end>end</p></body></html>"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


HEAD = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 3, 0, 0, 0))


def size_of(png: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", png[16:24])
    return width, height


@pytest.fixture
def site() -> Iterator[str]:
    """A server that has one page, /page, which adds a part of itself later, and one error, /broken."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            later = "<script>setTimeout(()=>{document.body.innerHTML='<b id=late>late</b>'},700)</script>"
            self.send_response(503 if self.path == "/broken" else 200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(later.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_urls_stay_and_files_must_be_there(tmp_path: Path) -> None:
    page = tmp_path / "a page.html"
    page.write_text(PAGE)
    assert address_of("http://gpu-01:3000/d/overview") == "http://gpu-01:3000/d/overview"
    assert address_of(str(page)) == f"file://{tmp_path}/a%20page.html"
    with pytest.raises(NoPicture, match=r"missing\.html: there is no such file\n  next: ls"):
        address_of(str(tmp_path / "missing.html"))


@pytest.mark.parametrize(
    ("navigated", "status", "problem"),
    [
        ({"loaderId": "1"}, 200, None),
        ({"loaderId": "1"}, 502, "it answered 502 Bad Gateway"),
        ({"loaderId": "2"}, 502, None),  # of an earlier page
        ({"errorText": "net::ERR_CONNECTION_REFUSED"}, 200, "the browser says net::ERR_CONNECTION_REFUSED"),
    ],
)
def test_a_page_that_is_an_error_is_no_picture(navigated: dict[str, str], status: int, problem: str | None) -> None:
    response = {"status": status, "statusText": "Bad Gateway"}
    image = {"type": "Image", "loaderId": "1", "response": {"status": 404}}
    document = {"type": "Document", "loaderId": "1", "response": response}
    assert problem_of("http://gpu-01", navigated, [image, document]) == problem


def test_the_palette_says_how_many_colours() -> None:
    assert colours(HEAD + chunk(b"gAMA", b"1234") + chunk(b"PLTE", bytes(9))) == 3
    assert colours(HEAD + chunk(b"IDAT", bytes(9))) is None
    with pytest.raises(ValueError, match="not a PNG"):
        colours(b"<html>")


def test_without_a_browser_it_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(devtools, "TOOL_PATH", str(tmp_path))
    assert main(["http://127.0.0.1:1/", str(tmp_path / "out.png")]) == 1
    assert "chromium is not installed\n  next: python3 -m lab.prerequisites pictures" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_a_browser_that_ends_at_once_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / devtools.PROGRAM
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(devtools.BrowserFailed, match="chromium ended"), devtools.opened(10):
        pass


def test_a_browser_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / devtools.PROGRAM
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(devtools, "_CLOSING_S", 0.5)
    with pytest.raises(devtools.BrowserFailed, match="longer than its time"), devtools.opened(1):
        pass
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


@browser
def test_a_file_is_taken_as_high_as_it_is(tmp_path: Path) -> None:
    page, picture = tmp_path / "page.html", tmp_path / "pictures" / "page.png"
    page.write_text(PAGE)
    assert main([str(page), str(picture), "--width", "640", "--full-page", "--wait-ms", "0"]) == 0
    width, height = size_of(picture.read_bytes())
    assert width == 640
    assert height > 1500
    assert main([str(page), str(picture), "--width", "640", "--height", "480", "--wait-ms", "0"]) == 0
    assert size_of(picture.read_bytes()) == (640, 480)


@browser
def test_what_comes_later_is_waited_for(site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "late.png"
    assert main([f"{site}/page", str(picture), "--wait-ms", "0"]) == 1
    assert "has one colour: the page shows nothing yet" in capsys.readouterr().err
    assert main([f"{site}/page", str(picture), "--wait-for", "#late"]) == 0
    assert picture.exists()
    assert main([f"{site}/page", str(picture), "--wait-for", "#never", "--timeout", "4"]) == 1
    assert "nothing in it matches '#never'" in capsys.readouterr().err


@browser
def test_an_error_page_and_no_page_are_no_pictures(
    site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "out.png"
    assert main([f"{site}/broken", str(picture)]) == 1
    assert "it answered 503" in capsys.readouterr().err
    assert main(["http://127.0.0.1:20001/", str(picture)]) == 1
    assert "net::ERR_CONNECTION_REFUSED" in capsys.readouterr().err
    assert not picture.exists()


def test_a_picture_that_nobody_makes_is_refused_with_those_that_are_made(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        pictures.main(["dashbord"])
    assert (
        "no such picture: dashbord; there are verify-report, dashboard-overview, bench-host" in capsys.readouterr().err
    )


def test_the_readme_shows_what_is_made() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for picture in (
        "docs/images/verify-report.png",
        "docs/images/dashboard-overview.png",
        "bench/host/results/lab-adapter.svg",
    ):
        assert picture in str(pictures.__doc__).replace(".*", ".svg")
        assert picture in readme
