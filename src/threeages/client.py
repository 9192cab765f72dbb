"""A client of the service: sends images in batches and repeats requests that may succeed later."""

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from threeages.errors import ConfigError, ImageError, MissingDependencyError, ServiceError
from threeages.inference.records import Record
from threeages.inference.sources import Images, Source, open_sources

try:
    import httpx
except ImportError as error:
    raise MissingDependencyError("httpx", "client") from error

BATCH_BYTES = 8 * 2**20  # a quarter of what the service takes by default
RETRIED = frozenset({429, 502, 503, 504})
MAX_WAIT = 30.0  # seconds between two requests


@dataclass(frozen=True)
class _Image:
    """One image: its path in the records, and its bytes or the record that says why there are none."""

    path: str
    data: bytes = b""
    failed: Record | None = None


class Client:
    """Predicts age groups by a running `threeages serve`. Needs the extra `threeages[client]`.

    A request that cannot connect, or that gets the status 429, 502, 503 or 504, is repeated: after the time
    in Retry-After, else after waits that double from half a second. Threads may share a client. It is a
    context manager; outside a `with` block call `close`.

    Args:
        url: Address of the service.
        api_key: Key for a service that runs with `--api-keys`.
        timeout: Seconds to wait for a connection and for each part of an answer.
        retries: Most repetitions of a request.
        batch: Most images in a request.
        transport: A transport of httpx, such as one for tests.

    Raises:
        ConfigError: A number is outside what is allowed.
        MissingDependencyError: The package httpx is not installed.

    Example:
        >>> with Client("http://127.0.0.1:8000") as client:
        ...     for record in client.predict(["photo.jpg"]):
        ...         print(record.status, record.age_group)
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: int = 4,
        batch: int = 16,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if batch < 1 or retries < 0 or not timeout > 0:
            raise ConfigError(
                f"The client was given batch {batch}, retries {retries} and timeout {timeout}.",
                hint="Give a batch of at least 1, 0 retries or more, and seconds above 0.",
            )
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, transport=transport)
        self._retries, self._batch = retries, batch

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(self, images: Images, *, detect: bool = True, bgr: bool = False) -> Iterator[Record]:
        """Yield the records of images, in their order, as `Predictor.predict` does.

        Args:
            images: One image or any number of them: paths, files' bytes, files opened in binary mode, Pillow
                images or arrays, as for `Predictor.predict`. Only bytes are sent, never a path; pixels are
                sent as PNG.
            detect: False takes every image whole, as one face crop.
            bgr: Arrays have the order blue, green, red, as OpenCV's have, and not red, green, blue.

        Yields:
            One record a face; for an image without a face, or one that cannot be read, a single record that
            says so in `status` and `message`.

        Raises:
            ServiceError: The service cannot be reached or refuses the request.
            TypeError: Something is no image; the message says what is allowed.
        """
        return self._answer(open_sources(images), detect, bgr)

    def model(self) -> dict[str, Any]:
        """The answer of `/v1/model`: product, version, model, signature, card and limits.

        Raises ServiceError where the service cannot be reached or refuses.
        """
        answer: dict[str, Any] = self._send("GET", "/v1/model").json()
        return answer

    def _answer(self, sources: Iterable[Source], detect: bool, bgr: bool) -> Iterator[Record]:
        waiting: list[_Image] = []
        size = 0
        for image in (_read(source, bgr) for source in sources):
            if waiting and (len(waiting) == self._batch or size + len(image.data) > BATCH_BYTES):
                yield from self._predict(waiting, detect)
                waiting, size = [], 0
            waiting.append(image)
            size += len(image.data)
        yield from self._predict(waiting, detect)

    def _predict(self, images: Sequence[_Image], detect: bool) -> Iterator[Record]:
        sent = {str(i): image for i, image in enumerate(images) if image.failed is None}
        answers: dict[str, list[Record]] = {key: [] for key in sent}
        for raw in self._request(sent, detect):
            record = Record.from_dict(raw)
            answers[record.path].append(replace(record, path=sent[record.path].path))
        for i, image in enumerate(images):
            yield from [image.failed] if image.failed else answers[str(i)]

    def _request(self, sent: dict[str, _Image], detect: bool) -> list[dict[str, Any]]:
        if not sent:
            return []
        files = [("images", (key, image.data)) for key, image in sent.items()]
        try:
            reply = self._send("POST", "/v1/predict", params={"detect": str(detect).lower()}, files=files)
        except ServiceError as error:
            if error.status != 413:
                raise
            if len(sent) == 1:  # one image that is too large must not cost the others their answers
                (key,) = sent
                return [Record(key, "too_large", message=str(error)).to_dict()]
            keys = list(sent)
            parts = keys[: len(keys) // 2], keys[len(keys) // 2 :]
            return [raw for part in parts for raw in self._request({key: sent[key] for key in part}, detect)]
        records: list[dict[str, Any]] = reply.json()["records"]
        return records

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        for attempt in range(self._retries + 1):
            try:
                reply = self._http.request(method, path, **content)
            except httpx.TransportError as error:
                reason: Exception = error
                wait = None
            else:
                if reply.is_success:
                    return reply
                refusal = _refusal(reply)
                if reply.status_code not in RETRIED:
                    raise refusal
                reason, wait = refusal, reply.headers.get("retry-after")
            if attempt < self._retries:
                time.sleep(_seconds(wait, attempt))
        if isinstance(reason, ServiceError):
            raise reason
        raise ServiceError(
            f"{self._http.base_url} cannot be reached: {reason or type(reason).__name__}.",
            hint="Is 'threeages serve' running there?",
        ) from reason


def _read(source: Source, bgr: bool) -> _Image:
    content = source.content
    try:
        if isinstance(content, Path):
            return _Image(source.name, content.read_bytes())
        return _Image(source.name, content if isinstance(content, bytes) else _encode(content, bgr))
    except ImageError as error:
        status, message = error.status, f"{error.message} {error.hint}".strip()
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        why = getattr(error, "strerror", None) or error
        status, message = "missing", f"Cannot read it: {why}."
    return _Image(source.name, failed=Record(source.name, status, message=message))


def _encode(content: Any, bgr: bool) -> bytes:
    """The bytes of a PNG file of an array or a Pillow image; raises ImageError where it cannot be used."""
    from threeages.faces.images import convert_pixels, encode_png

    if isinstance(content, ImageError):
        raise content
    return encode_png(convert_pixels(content, bgr=bgr))


def _refusal(reply: httpx.Response) -> ServiceError:
    try:
        body = reply.json()
        return ServiceError(body["detail"], hint=body["hint"], status=reply.status_code)
    except (ValueError, KeyError, TypeError):  # a proxy's answer
        return ServiceError(f"The service answered {reply.status_code}.", status=reply.status_code)


def _seconds(retry_after: str | None, attempt: int) -> float:
    if retry_after and retry_after.isdecimal():
        return min(float(retry_after), MAX_WAIT)
    return float(min(0.5 * 2**attempt, MAX_WAIT) * random.uniform(0.5, 1))
