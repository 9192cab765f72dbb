"""A lean HTTP load: prepared requests over connections that stay open, so that it costs little."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Call:
    """One request as bytes, and what must come back: its status and, where given, its records."""

    raw: bytes
    status: int = 200
    records: list[dict[str, Any]] | None = None
    name: str = ""


@dataclass
class Outcome:
    """Seconds of every answer, and what was wrong with any."""

    seconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    wall: float = 0.0

    def quantile(self, share: float) -> float:
        """Milliseconds within which this share of the answers came."""
        ordered = sorted(self.seconds)
        return 1e3 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def post(path: str, body: bytes, kind: str, method: str = "POST", host: str = "localhost") -> bytes:
    """A request as bytes."""
    headers = [f"Host: {host}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *headers, "", ""]).encode() + body


def form(images: Sequence[bytes]) -> tuple[bytes, str]:
    """Body and content type of a form with these files."""
    edge = "edge-of-the-parts"
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="images"; filename="{i}"\r\n\r\n'.encode() + data
        for i, data in enumerate(images)
    ]
    return b"\r\n".join([*parts, f"--{edge}--\r\n".encode()]), f"multipart/form-data; boundary={edge}"


def run_load(
    address: str, calls: Sequence[Call], clients: int, watch: Callable[[int], None] = lambda _: None
) -> Outcome:
    """Send every call once, over `clients` connections; `watch` is called with the number of answers."""
    outcome = Outcome()
    start = time.perf_counter()
    asyncio.run(_load(address, calls, clients, outcome, watch))
    outcome.wall = time.perf_counter() - start
    return outcome


async def _load(
    address: str, calls: Sequence[Call], clients: int, outcome: Outcome, watch: Callable[[int], None]
) -> None:
    rest = iter(calls)

    async def client() -> None:
        connection = None
        for call in rest:
            start = time.perf_counter()
            try:
                connection = connection or await _connect(address)
                status, body, closes = await asyncio.wait_for(_exchange(*connection, call.raw), 120)
            except Exception as error:
                outcome.faults.append(f"{call.name}: {type(error).__name__} {error}")
                connection = None
                continue
            outcome.seconds.append(time.perf_counter() - start)
            outcome.statuses[status] = outcome.statuses.get(status, 0) + 1
            if fault := _compare(call, status, body):
                outcome.faults.append(f"{call.name}: {fault}")
            if closes:
                connection[1].close()
                connection = None
            watch(len(outcome.seconds))
        if connection:
            connection[1].close()

    await asyncio.gather(*(client() for _ in range(clients)))


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(address)
    return await asyncio.open_connection(parts.hostname, parts.port)


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes
) -> tuple[int, bytes, bool]:
    writer.write(raw)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length:")[2].partition("\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length), "connection: close" in head


def _compare(call: Call, status: int, body: bytes) -> str:
    if status != call.status:
        return f"answered {status}, not {call.status}: {body[:200]!r}"
    if call.records is None:
        return ""
    found = json.loads(body)["records"]
    if len(found) != len(call.records):
        return f"{len(found)} records, not {len(call.records)}"
    for a, b in zip(found, call.records, strict=True):
        for name in ("status", "age_group", "box"):
            if a[name] != b[name]:
                return f"{name} {a[name]}, offline {b[name]}"
        for group, share in (b["probs"] or {}).items():
            if abs(a["probs"][group] - share) > 1e-3:
                return f"{group} {a['probs'][group]}, offline {share}"
    return ""
