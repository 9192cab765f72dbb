"""Runs the service in one event loop, and answers every accepted request before it stops."""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from threeages.errors import ConfigError, describe_cause
from threeages.evaluation.drift import load_reference
from threeages.inference.brackets import Brackets
from threeages.server.app import create_app
from threeages.server.settings import MIB, Settings, count_cores
from threeages.sessions import AUTO

log = logging.getLogger("threeages.server")

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def create_settings(
    *,
    host: str,
    workers: int | None,
    key_file: Path | None,
    max_error: float | None,
    coverage: float | None,
    rate_limit: int | None,
    max_body_mb: int,
    max_images: int,
    max_megapixels: int,
    allowed_hosts: Sequence[str] | None,
    cors_origins: Sequence[str] | None,
    device: str = AUTO,
    keep_alive: float = Settings.keep_alive,
    root_path: str = "",
    reference: Path | None = None,
    brackets: str | None = None,
) -> Settings:
    """The settings for the options of the command.

    On a loopback address only loopback host names are allowed: a foreign page could otherwise point a name
    of its own at 127.0.0.1 and read the answers (DNS rebinding). They stay allowed beside names that are
    given, for health checks. API keys come from `key_file` and from
    THREEAGES_API_KEYS. Raises ConfigError, and DataError where `reference` holds no histogram of answers.
    """
    hosts = (*(allowed_hosts or ()), *LOOPBACK) if allowed_hosts or is_loopback(host) else ("*",)
    return Settings(
        workers=count_cores() if workers is None else workers,
        api_keys=(*_read_keys(key_file), *_split(os.environ.get("THREEAGES_API_KEYS", ""), ",")),
        max_error=max_error,
        coverage=coverage,
        reference=load_reference(reference) if reference else None,
        brackets=None if brackets is None else Brackets.create(brackets),
        device=device,
        rate_limit=rate_limit,
        max_body=max_body_mb * MIB,
        max_images=max_images,
        max_pixels=max_megapixels * 1_000_000,
        max_waiting=max(Settings.max_waiting, 2 * max_body_mb * MIB),
        queue_size=max(Settings.queue_size, max_images),
        allowed_hosts=tuple(dict.fromkeys(name.lower() for name in hosts)),
        cors_origins=tuple(origin.rstrip("/") for origin in cors_origins or ()),
        keep_alive=keep_alive,
        root_path=f"/{root_path.strip('/')}".rstrip("/"),
    )


def serve(
    model: Path,
    settings: Settings,
    *,
    host: str,
    port: int,
    trusted_proxies: tuple[str, ...] = (),
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, answer every request that was accepted, and return.

    Prints the address to stderr when the service is ready. Raises ConfigError where it cannot listen on
    `host` and `port`, and ModelError where `model` cannot be used.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    log.setLevel(logging.INFO)
    if not (is_loopback(host) or settings.api_keys):
        log.warning("Anyone who reaches this address may use the service; --api-keys asks for a key.")
    run_app(create_app(model, settings), settings, host=host, port=port, trusted_proxies=trusted_proxies)


def run_app(
    app: FastAPI, settings: Settings, *, host: str, port: int, trusted_proxies: tuple[str, ...] = ()
) -> None:
    """Run an app as `serve` does, until a signal; raises ConfigError where it cannot listen."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,  # it would log the client; the guard logs size and status only
        server_header=False,
        ws="none",
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        timeout_keep_alive=settings.keep_alive,  # type: ignore[arg-type]  # any number of seconds
        timeout_graceful_shutdown=int(settings.upload_timeout + settings.request_timeout) + 1,
    )
    listener = _listen(host, port)
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    for sig in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises them again at the end: exit with code 0
        signal.signal(sig, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # not with nohup
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    signal.set_wakeup_fd(-1)  # the command line's, which would end the process before the last answer
    _Server(config, settings.drain, address).run([listener])


class _Server(uvicorn.Server):
    """Uvicorn's server, which accepts requests for `drain` seconds after the signal.

    Each answer of that time ends its connection. Without it, clients that reuse a connection would find it
    closed while their next request is under way.
    """

    def __init__(self, config: uvicorn.Config, drain: float, address: str) -> None:
        super().__init__(config)
        self._drain, self._address = drain, address
        self._stop_at = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"Listening on {self._address}", file=sys.stderr, flush=True)

    async def on_tick(self, counter: int) -> bool:
        if not await super().on_tick(counter):
            return False
        state = self.config.app.state  # type: ignore[union-attr]
        if not state.draining:
            state.draining = True
            self._stop_at = time.monotonic() + self._drain
        return time.monotonic() >= self._stop_at


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine alone."""
    return host in {"localhost", "::1"} or host.startswith("127.")


def _read_keys(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        keys = _split(path.read_text(encoding="utf-8"), "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"Cannot read the API keys in {path}: {describe_cause(error)}.", hint="Give a text file."
        ) from error
    if not keys:
        raise ConfigError(f"{path} holds no API key.", hint="Write one a line, at least 16 characters.")
    return keys


def _split(text: str, separator: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(separator) if part.strip())


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"Cannot listen on {host} port {port}: {describe_cause(error)}.",
            hint="Give another --host or --port.",
        ) from error
