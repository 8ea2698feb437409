"""Grafana's settings, its files as they are rendered, and its archive on the way to a host."""

from __future__ import annotations

import configparser
import hashlib
import http.server
import io
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from roles.layout import GRAFANA, grafana_archive, grafana_release
from roles.monitoring.grafana import configuration, install_commands
from roles.pins import pins
from roles.settings import SettingsError
from roles.site import Site, site_from


def site(**grafana: Any) -> Site:
    return site_from([{"monitoring": {"stack": True, "grafana": grafana}}], {})


def problems(**monitoring: Any) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        site_from([{"monitoring": {"stack": True, **monitoring}}], {})
    return refused.value.problems


def files(**grafana: Any) -> dict[str, str]:
    """By their own names."""
    return {path.rpartition("/")[2]: text for path, text in configuration(site(**grafana)).items()}


def ini(**grafana: Any) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(files(**grafana)["grafana.ini"])
    return parser


def test_it_is_off_until_the_stack_is_asked_for_and_can_be_left_out() -> None:
    assert not site_from([{}], {}).monitoring.shows_dashboards
    assert site().monitoring.shows_dashboards
    assert not site(enabled=False).monitoring.shows_dashboards
    assert "monitoring.grafana.port" in site().monitoring.listening("none")
    assert "monitoring.grafana.port" not in site(enabled=False).monitoring.listening("none")


def test_the_release_is_pinned_and_another_needs_all_three_of_its_names() -> None:
    archive = grafana_archive(site())
    assert (archive.version, archive.sha256) == (pins().grafana.version, pins().grafana.sha256)
    other = site(version="13.2.3", build="36414001255", sha256="b" * 64)
    assert grafana_archive(other).path == "13.2.3/grafana_13.2.3_36414001255_linux_amd64.tar.gz"
    assert grafana_release(other).path == "/opt/llm/grafana/13.2.3-36414001255"
    (found,) = problems(grafana={"version": "13.2.3"})
    assert "needs monitoring.grafana.build and .sha256 too" in found
    (found,) = problems(grafana={"build": "36414001255"})
    assert found.startswith("monitoring.grafana.build:")


def test_two_places_for_the_password_are_refused_and_what_looks_like_one_is_not_shown() -> None:
    (found,) = problems(grafana={"password_file": "/p", "password_command": ["pass"]})
    assert found.startswith("monitoring.grafana.password_command: monitoring.grafana.password_file")
    (found,) = problems(grafana={"password_variable": "hunter2 is it"})
    assert "hunter2" not in found


def test_its_port_is_nobody_elses() -> None:
    (found,) = problems(grafana={"port": 9090})
    assert "monitoring.grafana.port: 9090 is taken by monitoring.prometheus.port" in found
    (found,) = problems(grafana={"port": 3000})
    assert "frontend" in found


def test_it_calls_nobody_and_offers_no_plugins() -> None:
    said = ini()
    off = {
        "analytics": (
            "enabled",
            "reporting_enabled",
            "check_for_updates",
            "check_for_plugin_updates",
            "feedback_links_enabled",
        ),
        "news": ("news_feed_enabled",),
        "snapshots": ("external_enabled",),
        "plugins": ("plugin_admin_enabled",),
        "users": ("allow_sign_up",),
        "unified_alerting": ("enabled",),
    }
    assert {(part, key) for part, keys in off.items() for key in keys if said.getboolean(part, key)} == set()
    for part, key in (
        ("security", "disable_gravatar"),
        ("plugins", "preinstall_disabled"),
        ("plugins", "public_key_retrieval_disabled"),
    ):
        assert said.getboolean(part, key)


def test_the_password_is_read_from_systemds_credential_and_is_in_no_file() -> None:
    assert ini()["security"]["admin_password"] == f"$__file{{/run/credentials/{GRAFANA}/admin-password}}"
    unit = files()[GRAFANA]
    assert "LoadCredential=admin-password:/etc/llm/credentials/grafana-password" in unit
    assert f"--password-from-stdin < /run/credentials/{GRAFANA}/admin-password" in unit


def test_strangers_look_only_where_that_is_said() -> None:
    assert not ini().getboolean("auth.anonymous", "enabled")
    assert ini(anonymous=True).getboolean("auth.anonymous", "enabled")
    assert ini(anonymous=True)["auth.anonymous"]["org_role"] == "Viewer"


def test_on_loopback_it_may_reach_this_host_alone() -> None:
    here, open_to_all = files(), files(address="0.0.0.0")
    assert "IPAddressDeny=any\nIPAddressAllow=localhost\n" in here[GRAFANA]
    assert "IPAddressDeny" not in open_to_all[GRAFANA]
    assert "http://127.0.0.1:3001/api/health" in open_to_all[GRAFANA]
    assert "http_addr = 0.0.0.0" in open_to_all["grafana.ini"]


def test_the_data_source_is_the_hosts_prometheus_where_the_settings_have_it() -> None:
    told = {"stack": True, "prometheus": {"port": 9095, "scrape_interval_s": 30}}
    written = configuration(site_from([{"monitoring": told}], {}))
    (source,) = yaml.safe_load(written["/etc/llm/grafana/provisioning/datasources/prometheus.yaml"])["datasources"]
    assert (source["uid"], source["url"], source["jsonData"]["timeInterval"]) == (
        "prometheus",
        "http://127.0.0.1:9095",
        "30s",
    )
    (provider,) = yaml.safe_load(written["/etc/llm/grafana/provisioning/dashboards/dashboards.yaml"])["providers"]
    assert provider["options"]["path"] == "/etc/llm/grafana/dashboards"
    assert provider["allowUiUpdates"] is False


@cache
def packed() -> bytes:
    """An archive as the release's: one folder, and a program in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        program = b"#!/bin/sh\necho grafana version 13.2.2\n" + b"# " + bytes(range(33, 91)) * 4000
        member = tarfile.TarInfo("grafana-13.2.2/bin/grafana")
        member.size, member.mode = len(program), 0o755
        tar.addfile(member, io.BytesIO(program))
    return buffer.getvalue()


class Mirror:
    """Serves the archive, with ranges."""

    def __init__(self, content: bytes) -> None:
        asked: list[str] = []

        class Answering(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
                asked.append(f"{self.path} from {begin}")
                self.send_response(206 if begin else 200)
                self.send_header("Content-Length", str(len(content) - begin))
                if begin:
                    self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
                self.end_headers()
                self.wfile.write(content[begin:])

            def log_message(self, format: str, *args: object) -> None: ...

        self.asked = asked
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    one = Mirror(packed())
    yield one
    one.server.shutdown()
    one.server.server_close()


def install(mirror: Mirror, folder: Path, sha256: str) -> subprocess.CompletedProcess[str]:
    """The commands as the host's shell runs them, with its cache in `folder`."""
    told = {"mirrors": {"grafana_releases": mirror.url}, "monitoring": {"stack": True, "grafana": {"sha256": sha256}}}
    commands = [line.replace("/var/cache/llm", str(folder)) for line in install_commands(site_from([told], {}))]
    (folder / "grafana").mkdir(exist_ok=True)
    (folder / "release").mkdir(exist_ok=True)
    script = "\n".join(["set -eu", f"RELEASE={folder}/release", *commands])
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True)


FILE = f"grafana_{pins().grafana.version}_{pins().grafana.build}_linux_amd64.tar.gz"


def test_the_archive_is_fetched_checked_unpacked_and_removed(mirror: Mirror, tmp_path: Path) -> None:
    done = install(mirror, tmp_path, hashlib.sha256(packed()).hexdigest())
    assert done.returncode == 0, done.stderr
    assert "grafana version 13.2.2" in done.stdout
    assert (tmp_path / "release/bin/grafana").is_file()
    assert not (tmp_path / "grafana" / FILE).exists()
    assert mirror.asked == [f"/{pins().grafana.version}/{FILE} from 0"]


def test_a_fetch_that_was_cut_goes_on_where_it_was(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "grafana").mkdir()
    (tmp_path / "grafana" / FILE).write_bytes(packed()[:100])
    assert install(mirror, tmp_path, hashlib.sha256(packed()).hexdigest()).returncode == 0
    assert mirror.asked == [f"/{pins().grafana.version}/{FILE} from 100"]


def test_another_archive_is_not_unpacked_and_the_message_names_the_setting(mirror: Mirror, tmp_path: Path) -> None:
    done = install(mirror, tmp_path, "0" * 64)
    assert done.returncode == 1
    assert f"{hashlib.sha256(packed()).hexdigest()} is the checksum of {mirror.url}/" in done.stderr
    assert "as in monitoring.grafana.sha256" in done.stderr
    assert not list((tmp_path / "release").iterdir())
    assert not (tmp_path / "grafana" / FILE).exists()
