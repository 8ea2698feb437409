"""The command line: `python -m ollama_adapter --config FILE`."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .service.access_log import AccessLog
from .service.running import run
from .settings import Settings, SettingsError
from .settings_reading import describe, load

_DESCRIPTION = """\
Answers the Ollama API on one port. Text models are served by vLLM; requests for other models are passed on to an
Ollama server (Ollama Vision), byte for byte.
"""

_EPILOG = """\
examples:
  python -m ollama_adapter                                    vLLM on 127.0.0.1:8000, clients on 127.0.0.1:11434
  python -m ollama_adapter --config /etc/ollama-adapter.toml  what the service does
  python -m ollama_adapter --config adapter.toml --check-config
  python -m ollama_adapter --show-config > adapter.toml       every setting with its default and meaning

every setting can come from the environment: OLLAMA_ADAPTER_<SECTION>_<NAME>, for instance
  OLLAMA_ADAPTER_VLLM_URL=http://127.0.0.1:8001 OLLAMA_ADAPTER_VLLM_ALIASES=llama3.2,llama2 python -m ollama_adapter
what neither the file nor such a variable says comes from OLLAMA_HOST, OLLAMA_ORIGINS and OLLAMA_KEEP_ALIVE

signals:   SIGTERM finishes the answers on their way (server.drain_timeout_s), then ends
systemd:   takes a socket from ollama-adapter.socket, says READY=1 and STOPPING=1, keeps the watchdog quiet
to look:   curl localhost:11434/ready    is vLLM serving?    curl localhost:11434/health    is the adapter alive?
exit code: 0 ended on request, 1 cannot listen, 2 the settings are wrong
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the adapter.

    :return: the exit code.
    """
    options = _parser().parse_args(arguments)
    if options.show_config:
        print(describe(), end="")
        return 0
    try:
        settings = load(options.config)
    except SettingsError as error:
        where = options.config or "the environment"
        print(f"{len(error.mistakes)} settings are wrong in {where}, the adapter does not start", file=sys.stderr)
        for mistake in error.mistakes:
            print(f"  {mistake}", file=sys.stderr)
        print("all settings and their meaning: python -m ollama_adapter --show-config", file=sys.stderr)
        return 2
    settings = _overridden(settings, options.host, options.port)
    if options.check_config:
        print(f"{options.config or 'defaults and environment'}: the settings are right")
        return 0
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    try:
        run(settings, AccessLog())
    except (OSError, ValueError) as error:
        server = settings.server
        print(f"cannot serve on {server.host}:{server.port}: {error}", file=sys.stderr)
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            print(f"who has the port: ss -ltnp 'sport = :{server.port}'", file=sys.stderr)
        return 1
    return 0


def _overridden(settings: Settings, host: str | None, port: int | None) -> Settings:
    server = settings.server
    if host is not None:
        server = dataclasses.replace(server, host=host)
    if port is not None:
        server = dataclasses.replace(server, port=port)
    return dataclasses.replace(settings, server=server)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ollama_adapter",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML")
    parser.add_argument("--host", help="address to listen on, instead of server.host")
    parser.add_argument("--port", type=int, help="port to listen on, instead of server.port; 0 takes a free one")
    parser.add_argument("--check-config", action="store_true", help="check the settings, then end")
    parser.add_argument("--show-config", action="store_true", help="print every setting with its default, then end")
    parser.add_argument("--version", action="version", version=f"ollama-adapter {__version__}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
