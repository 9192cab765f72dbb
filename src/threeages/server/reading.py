"""From the body of a request to its images; checks every limit before anything is decoded."""

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from threeages.errors import describe_cause
from threeages.server.engine import Upload
from threeages.server.problems import BusyError, RequestError
from threeages.server.schemas import MAX_NAME, LabelledAnswer, LabelsRequest, PredictRequest
from threeages.server.settings import Settings

FIELD_BYTES = 4096  # of a text field of a form
JSON = "application/json"
Parsed = TypeVar("Parsed", bound=BaseModel)
KINDS = "multipart/form-data, application/json, image/* or application/octet-stream"
DATA_URL = re.compile(r"\s*data:[^,]*;\s*base64\s*,", re.IGNORECASE)  # RFC 2397
DATA_URL_HEAD = 1000  # characters in which the data of a data URL begins
WHITESPACE = b" \t\r\n\v\f"
URL_SAFE = bytes.maketrans(b"-_", b"+/")
BOM = b"\xef\xbb\xbf"


class Reader:
    """Reads the images of requests and bounds the memory that all of them take together."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting = 0

    @asynccontextmanager
    async def images(self, request: Request) -> AsyncIterator[list[Upload]]:
        """The images of one request, whose bytes count as waiting until the block ends.

        Raises RequestError 400 (malformed), 408 (too slow), 413 (too large), 415 (content type) and 422
        (no images, or values that are not allowed), and BusyError where too many bytes wait already.
        """
        async with self._waiting_for(request):
            async with self._within_time():
                uploads = await self._read(request)
            yield uploads

    async def labels(self, request: Request) -> list[LabelledAnswer]:
        """The labelled answers of one request; raises RequestError as `images` does, and BusyError."""
        async with self._waiting_for(request), self._within_time():
            kind = _content_type(request)
            if kind != JSON:
                raise RequestError(415, f"The content type was '{kind[:80]}'.", hint=f"Allowed: {JSON}.")
            hint = 'Send {"answers": [{"age_group": "MIDDLE", "label": "YOUNG"}]}, at most 1,000 of them.'
            return _parse_json(LabelsRequest, await self._body(request), hint).answers

    @asynccontextmanager
    async def _waiting_for(self, request: Request) -> AsyncIterator[None]:
        """Count the bytes of the request as waiting until the block ends."""
        size = self._announced_size(request)
        if self._waiting + size > self._settings.max_waiting:
            raise BusyError("Too many bytes wait for an answer already.")
        self._waiting += size
        try:
            yield
        finally:
            self._waiting -= size

    @asynccontextmanager
    async def _within_time(self) -> AsyncIterator[None]:
        """Refuse a body that does not arrive in time, or not whole."""
        try:
            async with asyncio.timeout(self._settings.upload_timeout):
                yield
        except TimeoutError:
            message = f"The body did not arrive within {self._settings.upload_timeout:g} s."
            raise RequestError(
                408, message, hint="Send it faster.", headers={"Connection": "close"}
            ) from None
        except ClientDisconnect:
            raise RequestError(400, "The connection ended before the body did.") from None

    def _announced_size(self, request: Request) -> int:
        """Bytes to count for the request: its Content-Length, or the largest body where it has none."""
        limit = self._settings.max_body
        text = request.headers.get("content-length", "")
        size = int(text) if text.isdecimal() else limit
        if size > 2 * limit:  # a little too much is read and then refused, as cutting it off loses the answer
            raise self._too_large()
        return min(size, limit)

    def _too_large(self) -> RequestError:
        limit = self._settings.max_body
        hint = f"At most {limit:,} bytes; send fewer images at once, or smaller ones."
        return RequestError(413, "The body is too large.", hint=hint, headers={"Connection": "close"})

    async def _read(self, request: Request) -> list[Upload]:
        kind = _content_type(request)
        if kind == "multipart/form-data":
            uploads = await self._read_form(request)
        elif kind == JSON:
            uploads = self._read_json(await self._body(request))
        elif kind.startswith("image/") or kind == "application/octet-stream":
            body = await self._body(request)
            uploads = [Upload("image-0", body)] if body else []
        else:
            raise RequestError(415, f"The content type was '{kind[:80]}'.", hint=f"Allowed: {KINDS}.")
        limit = self._settings.max_images
        if not 1 <= len(uploads) <= limit:
            message = f"The request has {len(uploads)} images."
            raise RequestError(422, message, hint=f"Send 1 to {limit} of them.")
        return uploads

    async def _stream(self, request: Request) -> AsyncGenerator[bytes, None]:
        """The chunks of the body as they come; drops those beyond the limit and then refuses the body."""
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > 2 * self._settings.max_body:
                break
            if size <= self._settings.max_body:
                yield chunk
        if size > self._settings.max_body:
            raise self._too_large()

    async def _body(self, request: Request) -> bytes:
        return b"".join([chunk async for chunk in self._stream(request)])

    async def _read_form(self, request: Request) -> list[Upload]:
        settings = self._settings
        parser = MultiPartParser(
            request.headers,
            self._stream(request),
            max_files=settings.max_images,
            max_fields=settings.max_fields,
            max_part_size=FIELD_BYTES,
        )
        parser.spool_max_size = settings.max_body  # files stay in memory: no photo touches the disk
        try:
            form = await parser.parse()
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            uploads = [Upload(_clean(f.filename, i), await f.read()) for i, f in enumerate(files)]
            await form.close()
        except MultiPartException as error:
            limits = f"{settings.max_images} files and {settings.max_fields} fields of {FIELD_BYTES} bytes"
            raise RequestError(
                400, f"The form cannot be used: {describe_cause(error.message)}.", hint=f"At most {limits}."
            ) from None
        return uploads

    def _read_json(self, body: bytes) -> list[Upload]:
        hint = 'Send {"images": [{"name": "a.jpg", "data": "<base64>"}]}.'
        items = _parse_json(PredictRequest, body, hint).images
        return [Upload(_clean(item.name, i), _decoded(item.data, i)) for i, item in enumerate(items)]


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _parse_json(schema: type[Parsed], body: bytes, hint: str) -> Parsed:
    """The body as its schema; raises RequestError 422, which names the first fault and no value."""
    try:
        return schema.model_validate_json(body.removeprefix(BOM))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        message = f"The JSON cannot be used: {where}: {describe_cause(first['msg'])}."
        raise RequestError(422, message, hint=hint) from None


def decode_base64(text: str) -> bytes:
    """The bytes of base64 or of a data URL (RFC 4648 and 2397).

    Takes the standard and the URL-safe alphabet, line breaks, and padding that is missing. Raises ValueError.
    """
    start = DATA_URL.match(text[:DATA_URL_HEAD])
    if start:
        text = unquote(text[start.end() :])
    raw = text.encode("ascii").translate(URL_SAFE, WHITESPACE).rstrip(b"=")
    return base64.b64decode(raw + b"=" * (-len(raw) % 4), validate=True)


def _decoded(text: str, i: int) -> bytes:
    try:
        return decode_base64(text)
    except ValueError:  # binascii's error is one, too
        raise RequestError(
            422, f"images.{i}.data is not base64.", hint="Send the file's bytes in base64 (RFC 4648)."
        ) from None


def _clean(name: str | None, i: int) -> str:
    """The name for the records: printable, without folders, of bounded length."""
    last = re.split(r"[/\\]", name or "")[-1]
    return "".join(c for c in last if c.isprintable())[:MAX_NAME] or f"image-{i}"
