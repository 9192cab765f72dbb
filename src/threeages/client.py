"""A client of the service: sends images in batches and repeats requests that may succeed later."""

import ipaddress
import random
import socket
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from threeages.errors import (
    ConfigError,
    ImageError,
    MissingDependencyError,
    ServiceError,
    describe_cause,
    format_count,
)
from threeages.inference.records import NO_FACE_TOGETHER, TOGETHER, Record
from threeages.inference.sources import Images, Source, open_sources
from threeages.labels import AGE_GROUPS

try:
    import httpx
except ImportError as error:
    raise MissingDependencyError("httpx", "client") from error

BATCH_BYTES = 8 * 2**20  # a quarter of what the service takes by default
RETRIED = frozenset({429, 502, 503, 504})
REFUSED = frozenset({429, 503})  # of a request that the service has not begun
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
MOST_LABELS = 1000  # in a request
FORM_BYTES = 256  # more than a form adds to each image
MAX_WAIT = 30.0  # seconds between two requests
ADDRESS_HINT = "Give one such as http://127.0.0.1:8000."


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

    A proxy named by HTTP_PROXY, HTTPS_PROXY or ALL_PROXY carries the requests, unless NO_PROXY names the host
    or the service is on this machine. What a proxy answers in place of the service is an error that names it.

    Args:
        url: Address of the service, with its sub-path where it has one.
        api_key: Key for a service that runs with `--api-keys`.
        timeout: Seconds to wait for a connection and for each part of an answer.
        retries: Most repetitions of a request.
        batch: Most images in a request.
        transport: A transport of httpx, such as one for tests.

    Raises:
        ConfigError: A number is outside what is allowed.
        MissingDependencyError: The package httpx is not installed.
        ServiceError: The address is none of HTTP, or the proxy cannot be used.

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
        address = _parse_address(url)
        self._proxy = "" if transport else find_proxy(address)
        transport = transport or _create_transport(self._proxy)
        self._http = httpx.Client(base_url=address, headers=headers, timeout=timeout, transport=transport)
        self._retries, self._batch = retries, batch

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(
        self, images: Images, *, detect: bool = True, bgr: bool = False, together: bool = False
    ) -> Iterator[Record]:
        """Yield the records of images, in their order, as `Predictor.predict` does.

        Args:
            images: One image or any number of them: paths, files' bytes, files opened in binary mode, Pillow
                images or arrays, as for `Predictor.predict`. Only bytes are sent, never a path; pixels are
                sent as PNG.
            detect: False takes every image whole, as one face crop.
            bgr: Arrays have the order blue, green, red, as OpenCV's have, and not red, green, blue.
            together: The images show the same person: they go in one request, and one more record comes last
                that answers all of them together, as of `Predictor.predict_together`.

        Yields:
            One record a face; for an image without a face, or one that cannot be read, a single record that
            says so in `status` and `message`.

        Raises:
            ServiceError: The service cannot be reached or refuses the request.
            TypeError: Something is no image; the message says what is allowed.
        """
        answer = self._answer_together if together else self._answer
        return answer(open_sources(images), detect, bgr)

    def model(self) -> dict[str, Any]:
        """The answer of `/v1/model`: product, version, model, signature, card and limits.

        Raises ServiceError where the service cannot be reached or refuses.
        """
        return self._json(self._send("GET", "/v1/model"), "limits")

    def send_labels(self, answers: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Send the true age groups of earlier answers to a service with `--max-error`; the risk so far.

        Each pair is the `age_group` of a record of status `ok`, and the label that became known. Send every
        answer once, of one person one, in the order of time and however they turned out. A request of which
        it is not known whether the service counted it is not repeated.

        Returns:
            The answer of `/v1/labels`: `n`, `risk`, `target_error`, `level`, `e_value` and `alarm_at`, the
            number of labels after which the risk was found to exceed the target, or None.

        Raises:
            ConfigError: There is no pair, or a name is none of an age group. Nothing is sent then.
            ServiceError: The service cannot be reached or refuses; the message says how many were counted.

        Example:
            >>> with Client("http://127.0.0.1:8000") as client:
            ...     client.send_labels([("MIDDLE", "YOUNG"), ("OLD", "OLD")])["alarm_at"]
        """
        pairs = _pair_labels(answers)
        found: dict[str, Any] = {}
        for start in range(0, len(pairs), MOST_LABELS):
            content = {"answers": pairs[start : start + MOST_LABELS]}
            try:
                found = self._json(self._send("POST", "/v1/labels", once=True, json=content), "e_value")
            except ServiceError as error:
                counted = f"{format_count(start, 'label')} before this request are counted."
                raise ServiceError(
                    error.message, hint=f"{error.hint} {counted}".strip(), status=error.status
                ) from error
        return found

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

    def _answer_together(self, sources: Iterable[Source], detect: bool, bgr: bool) -> Iterator[Record]:
        yield from self._predict_together([_read(source, bgr) for source in sources], detect)

    def _predict(self, images: Sequence[_Image], detect: bool) -> Iterator[Record]:
        sent = {str(i): image for i, image in enumerate(images) if image.failed is None}
        yield from _in_order(images, self._request(sent, detect))

    def _predict_together(self, images: Sequence[_Image], detect: bool) -> Iterator[Record]:
        images = self._fit_in_one_request(images)
        sent = {str(i): image for i, image in enumerate(images) if image.failed is None}
        *records, combined = self._post(sent, detect, together=True) if sent else [NO_FACE_TOGETHER]
        yield from _in_order(images, records)
        yield combined

    def _fit_in_one_request(self, images: Sequence[_Image]) -> Sequence[_Image]:
        """The images, of which each that is too large for the service has failed; checks what is left."""
        if len(images) <= self._batch and sum(len(image.data) for image in images) <= BATCH_BYTES:
            return images
        limits = self.model()["limits"]
        most, max_body = limits["max_images"], limits["max_body"]
        images = [_without_too_large(image, max_body) for image in images]
        sizes = [len(image.data) + FORM_BYTES for image in images if image.failed is None]
        if len(sizes) > most or sum(sizes) > max_body:
            raise ServiceError(
                f"{format_count(sizes, 'image')} of {sum(sizes):,} bytes are too much for one request.",
                hint=f"It takes {most} of {max_body:,} bytes. With 'threeages serve' "
                "--max-images and --max-body-mb change that.",
                status=413,
            )
        return images

    def _request(self, sent: dict[str, _Image], detect: bool) -> list[Record]:
        if not sent:
            return []
        try:
            return self._post(sent, detect)
        except ServiceError as error:
            if error.status != 413:
                raise
            if len(sent) == 1:  # one image that is too large must not cost the others their answers
                (key,) = sent
                return [Record(key, "too_large", message=str(error))]
        keys = list(sent)
        parts = keys[: len(keys) // 2], keys[len(keys) // 2 :]
        return [record for part in parts for record in self._request({k: sent[k] for k in part}, detect)]

    def _post(self, sent: dict[str, _Image], detect: bool, together: bool = False) -> list[Record]:
        """The records of one request, each with the key of its image as its path."""
        files = [("images", (key, image.data)) for key, image in sent.items()]
        params = {"detect": str(detect).lower()} | ({"together": "true"} if together else {})
        reply = self._send("POST", "/v1/predict", params=params, files=files)
        records = [Record.from_dict(raw) for raw in self._json(reply, "records")["records"]]
        if together and (not records or records[-1].path != TOGETHER):
            raise ServiceError(f"{self._http.base_url} is too old to answer several images together.")
        return records

    def _json(self, reply: httpx.Response, key: str) -> dict[str, Any]:
        """The JSON of an answer, which holds `key`; a proxy's login page does not."""
        try:
            answer: dict[str, Any] = reply.json()
            answer[key]
        except (ValueError, KeyError, TypeError):
            kind = reply.headers.get("content-type", "no content type")
            raise ServiceError(
                f"{self._sender} answered with {kind}, not with {key}.",
                hint=f"Is {self._http.base_url} the address of 'threeages serve'?{self._proxy_hint}",
                status=reply.status_code,
            ) from None
        return answer

    def _send(self, method: str, path: str, *, once: bool = False, **content: Any) -> httpx.Response:
        """The answer to a request; with `once` it is repeated only where the service did not count it."""
        for attempt in range(self._retries + 1):
            try:
                reply = self._http.request(method, path, **content)
            except httpx.RequestError as error:
                reason: Exception = error
                wait = None
                if isinstance(error, httpx.ProxyError) and str(error).startswith("4"):
                    break  # such as 407: it will refuse the next request, too
                if once and not isinstance(error, UNSENT):
                    break
            else:
                if reply.is_success:
                    return reply
                refusal = self._refusal(reply)
                if reply.status_code not in (REFUSED if once else RETRIED):
                    raise refusal
                reason, wait = refusal, reply.headers.get("retry-after")
            if attempt < self._retries:
                time.sleep(_seconds(wait, attempt))
        if isinstance(reason, ServiceError):
            raise reason
        through = f" through the proxy {_without_password(self._proxy)}" if self._proxy else ""
        raise ServiceError(
            f"{self._http.base_url} cannot be reached{through}: {describe_cause(reason)}.",
            hint=f"Is 'threeages serve' running there?{self._proxy_hint}",
        ) from reason

    def _refusal(self, reply: httpx.Response) -> ServiceError:
        """The refusal of the service, or that of a proxy on the way, which has no words of the service."""
        try:
            body = reply.json()
            return ServiceError(body["detail"], hint=body["hint"], status=reply.status_code)
        except (ValueError, KeyError, TypeError):
            target = reply.headers.get("location")
            to = f" and names {target}" if target else ""
            return ServiceError(
                f"{self._sender} answered {reply.status_code} {reply.reason_phrase}{to}.",
                hint="Give that address." if target else self._proxy_hint.strip(),
                status=reply.status_code,
            )

    @property
    def _sender(self) -> str:
        """Who sent an answer that is none of the service's."""
        if self._proxy:
            return f"The proxy {_without_password(self._proxy)}"
        return f"{self._http.base_url}, or a proxy before it,"

    @property
    def _proxy_hint(self) -> str:
        host = self._http.base_url.host
        return f" NO_PROXY={host} in the environment goes past the proxy." if self._proxy else ""


def find_proxy(address: httpx.URL) -> str:
    """The proxy that the environment or the system names for an address; empty for this machine."""
    host, port = address.host, f":{address.port}" if address.port else ""
    if is_this_machine(host) or urllib.request.proxy_bypass(host + port):
        return ""
    proxies = urllib.request.getproxies()
    found = proxies.get(address.scheme) or proxies.get("all") or ""
    return found if "://" in found or not found else f"http://{found}"


def is_this_machine(host: str) -> bool:
    """Whether a host is the loopback or the unspecified address, in any spelling: localhost, 127.1, ::1."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ip = ipaddress.ip_address(name)
    except ValueError:
        try:
            ip = ipaddress.IPv4Address(socket.inet_aton(name))
        except (OSError, UnicodeEncodeError):
            return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_loopback or ip.is_unspecified


def _parse_address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ServiceError(f"'{url}' is no address: {describe_cause(error)}.", hint=ADDRESS_HINT) from None
    if address.scheme not in {"http", "https"} or not address.host:
        raise ServiceError(f"'{url}' is no address of HTTP.", hint=ADDRESS_HINT)
    return address


def _create_transport(proxy: str) -> httpx.HTTPTransport:
    """A transport through the proxy, or past every proxy where it is empty."""
    try:
        return httpx.HTTPTransport(proxy=proxy or None)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise ServiceError(
            f"The proxy {_without_password(proxy)} cannot be used: {describe_cause(error)}.",
            hint="HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names it; NO_PROXY names hosts to reach without it.",
        ) from error


def _without_too_large(image: _Image, max_body: int) -> _Image:
    if len(image.data) + FORM_BYTES <= max_body:
        return image
    message = f"It has {len(image.data):,} bytes; the service takes {max_body:,}."
    return _Image(image.path, failed=Record(image.path, "too_large", message=message))


def _without_password(proxy: str) -> str:
    scheme, separator, rest = proxy.rpartition("://")
    return scheme + separator + rest.rpartition("@")[2]


def _in_order(images: Sequence[_Image], records: Iterable[Record]) -> Iterator[Record]:
    """The records under the paths of their images, and those of images that were not sent between them."""
    answers: dict[str, list[Record]] = {str(i): [] for i in range(len(images))}
    for record in records:
        answers[record.path].append(replace(record, path=images[int(record.path)].path))
    for image, found in zip(images, answers.values(), strict=True):
        yield from [image.failed] if image.failed else found


def _read(source: Source, bgr: bool) -> _Image:
    content = source.content
    try:
        if isinstance(content, Path):
            return _Image(source.name, content.read_bytes())
        return _Image(source.name, content if isinstance(content, bytes) else _encode(content, bgr))
    except ImageError as error:
        status, message = error.status, f"{error.message} {error.hint}".strip()
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        status, message = "missing", f"Cannot read it: {describe_cause(error)}."
    return _Image(source.name, failed=Record(source.name, status, message=message))


def _encode(content: Any, bgr: bool) -> bytes:
    """The bytes of a PNG file of an array or a Pillow image; raises ImageError where it cannot be used."""
    from threeages.faces.images import convert_pixels, encode_png

    if isinstance(content, ImageError):
        raise content
    return encode_png(convert_pixels(content, bgr=bgr))


def _seconds(retry_after: str | None, attempt: int) -> float:
    if retry_after and retry_after.isdecimal():
        return min(float(retry_after), MAX_WAIT)
    return float(min(0.5 * 2**attempt, MAX_WAIT) * random.uniform(0.5, 1))


def _pair_labels(answers: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """The pairs as the service takes them; raises ConfigError where they are none of age groups."""
    hint = f"Give pairs of {', '.join(AGE_GROUPS)}, such as [('MIDDLE', 'YOUNG')]."
    try:
        pairs = [{"age_group": group, "label": label} for group, label in answers]
        wrong = {name for pair in pairs for name in pair.values()} - set(AGE_GROUPS)
    except (TypeError, ValueError) as error:
        raise ConfigError("The labels are not pairs of an answer and a label.", hint=hint) from error
    if wrong or not pairs:
        given = f"'{min(map(str, wrong))}' is no age group" if wrong else "There are no labels to send"
        raise ConfigError(f"{given}.", hint=hint)
    return pairs
