"""Refusals as problem+json (RFC 9457), in the words of the library's own errors."""

from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from threeages.errors import ThreeAgesError

MEDIA_TYPE = "application/problem+json"


class RequestError(ThreeAgesError):
    """A request that is refused with the HTTP `status` and `headers`."""

    def __init__(
        self, status: int, message: str, *, hint: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.headers = headers or {}


class BusyError(RequestError):
    """The queue is full: 503, with a Retry-After of `seconds`."""

    def __init__(self, message: str, seconds: int = 1) -> None:
        super().__init__(
            503, message, hint=f"Try again in {seconds} s.", headers={"Retry-After": str(seconds)}
        )


def problem(status: int, message: str, hint: str = "", headers: dict[str, str] | None = None) -> JSONResponse:
    """The response to a request that is refused: `title`, `status`, `detail` (the message) and `hint`."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": message,
        "hint": hint,
    }
    return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)


def answer_error(request: Request, error: Exception) -> JSONResponse:
    """Translate an error of a route; one that this package did not raise on purpose becomes a bare 500."""
    if isinstance(error, RequestError):
        return problem(error.status, error.message, error.hint, error.headers)
    if isinstance(error, ThreeAgesError):
        return problem(422, error.message, error.hint)
    return problem(500, "The service failed on this request.", "This is an error of the service: report it.")


def answer_http_error(request: Request, error: Any) -> JSONResponse:
    """Translate the refusals of the framework: no such route, method not allowed."""
    hints = {
        404: "GET /openapi.json lists the routes.",
        405: "GET /openapi.json lists the methods of each route.",
    }
    message = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return problem(error.status_code, message, hints.get(error.status_code, ""), error.headers)
