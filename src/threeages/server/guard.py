"""The checks of every request (host, rate, key), and the headers, metrics and log line of its answer."""

import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from threeages.server.metrics import Metrics
from threeages.server.problems import BusyError, RequestError, problem
from threeages.server.settings import Settings

log = logging.getLogger("threeages.server")

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
PROTECTED = ("/v1/", "/metrics")
MAX_CLIENTS = 10_000  # number of clients whose rate is remembered


class RateLimit:
    """Allows a client `per_minute` requests a minute, evenly spaced after a burst of a sixth of them.

    This is the generic cell rate algorithm (ITU-T I.371), a leaky bucket that stores one time a client.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 60 / per_minute
        self._slack = self._interval * max(1, per_minute // 6)
        self._clock = clock
        self._due: OrderedDict[str, float] = OrderedDict()  # when the client's next request would be on time

    def seconds_to_wait(self, client: str) -> float:
        """Count a request that is allowed and return 0; else return the seconds that the client must wait."""
        now = self._clock()
        due = max(self._due.pop(client, now), now) + self._interval
        excess = due - now - self._slack
        self._due[client] = due if excess <= 0 else due - self._interval
        if len(self._due) > MAX_CLIENTS:
            self._due.popitem(last=False)
        return max(excess, 0.0)


class Guard:
    """ASGI middleware around the routes; only CORS and `Address` lie outside it."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app, self._settings, self._metrics, self._paths = app, settings, metrics, paths
        self._rate = RateLimit(settings.rate_limit) if settings.rate_limit else None
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; an exception inside becomes a 500 without a stack trace."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, closing=getattr(scope["app"].state, "draining", False))
        start = time.perf_counter()
        self._under_way += 1
        try:
            self._admit(scope)
            await self._app(scope, exchange.receive, exchange.send)
        except RequestError as error:
            refusal = problem(error.status, error.message, error.hint, error.headers)
            await refusal(scope, exchange.receive, exchange.send)
        except Exception as error:
            # the place, but not the message, which may quote the request
            log.error("failed: %s at %s", type(error).__name__, _place(error))
            if not exchange.status:
                await problem(500, "The service failed on this request.")(
                    scope, exchange.receive, exchange.send
                )
        finally:
            self._under_way -= 1
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.count_request(path, exchange.status, time.perf_counter() - start, exchange.received)
            log.info("status=%d bytes=%d", exchange.status, exchange.received)

    def _admit(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        allowed = self._settings.allowed_hosts
        if "*" not in allowed and _host_name(headers.get("host", "")) not in allowed:
            hint = f"Allowed: {', '.join(allowed)}; --allow-host adds another."
            raise RequestError(421, "This host name is not served.", hint=hint)
        if not scope["path"].startswith(PROTECTED) or scope["method"] == "OPTIONS":
            return
        if self._under_way > self._settings.max_requests:
            raise BusyError(f"More than {self._settings.max_requests} requests are under way.")
        if self._rate:
            wait = self._rate.seconds_to_wait((scope.get("client") or ("",))[0])
            if wait:
                seconds = str(int(wait) + 1)
                message = f"More than {self._settings.rate_limit} requests a minute."
                raise RequestError(
                    429, message, hint=f"Try again in {seconds} s.", headers={"Retry-After": seconds}
                )
        if self._settings.api_keys and not is_known_key(given_key(headers), self._settings.api_keys):
            raise RequestError(
                401,
                "This needs an API key.",
                hint="Send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'.",
                headers={"WWW-Authenticate": "Bearer"},
            )


class _Exchange:
    """The channels of one request, counting the bytes received and noting the status sent."""

    def __init__(self, receive: Receive, send: Send, *, closing: bool) -> None:
        self._receive, self._send, self._closing = receive, send, closing
        self.received = self.status = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
            if self._closing:
                headers["Connection"] = "close"
        await self._send(message)


def given_key(headers: Headers) -> str:
    """The API key in the headers, '' where there is none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def is_known_key(given: str, keys: tuple[str, ...]) -> bool:
    """Whether the key is one of `keys`, compared with each in constant time: timing reveals nothing."""
    raw = given.encode("utf-8", "surrogateescape")
    return bool(sum(hmac.compare_digest(raw, key.encode()) for key in keys))


def _host_name(host: str) -> str:
    """The Host header without its port: `[::1]:8000` and `localhost:8000` alike."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdecimal() else host).lower()


def _place(error: Exception) -> str:
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}" if frame else "?"
