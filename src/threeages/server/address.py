"""What a request asks for: the path as proxies leave it, and HEAD wherever there is GET."""

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Address:
    """ASGI middleware around all others: they see clean paths and never a HEAD.

    A proxy under a sub-path may leave the sub-path in place, which `root_path` names, and it may double a
    slash or add one at the end. HEAD is answered as GET without the body (RFC 9110, section 9.3.2).
    """

    def __init__(self, app: ASGIApp, root_path: str = "") -> None:
        self._app, self._root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        method = "GET" if is_head else scope["method"]
        path = clean_path(scope["path"], self._root_path)

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 405:
                _allow_head(MutableHeaders(scope=message))
            elif message["type"] == "http.response.body" and is_head:
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": method, "path": path}, receive, send_on)


def clean_path(path: str, root_path: str) -> str:
    """The path without the sub-path, doubled slashes and a slash at the end: `/` or `/v1/predict`."""
    path = re.sub("/{2,}", "/", path)
    if root_path and (path + "/").startswith(root_path + "/"):
        path = path.removeprefix(root_path)
    return path.rstrip("/") or "/"


def _allow_head(headers: MutableHeaders) -> None:
    allowed = headers.get("allow", "").split(", ")
    if "GET" in allowed:
        headers["Allow"] = ", ".join(dict.fromkeys([*allowed, "HEAD"]))
