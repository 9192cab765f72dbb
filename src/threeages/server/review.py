"""The FastAPI app of a label review: a page, the suspects with their images, and their decisions."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict

from threeages import __version__
from threeages.errors import ConfigError
from threeages.evaluation.suspects import Suspect
from threeages.faces.images import Pixels, load_image
from threeages.inference.occlusion import to_png
from threeages.labels import AGE_GROUPS
from threeages.server.app import PAGE, add_guards
from threeages.server.metrics import Metrics
from threeages.server.problems import RequestError
from threeages.server.review_set import ReviewSet
from threeages.server.run import create_settings, is_loopback, run_app
from threeages.server.settings import Settings

log = logging.getLogger("threeages.server")
LARGEST = 1024  # pixels of the longer side of an image that the page shows
PATHS = frozenset({"/", "/v1/review", "/v1/decisions"})


class Copy(BaseModel):
    """Another row that shows the same picture."""

    row: int
    path: str
    label: str | None


class Item(BaseModel):
    """A suspect as the page shows it."""

    row: int
    path: str
    label: str
    suggestion: str | None
    reason: str
    quality: float | None
    probs: dict[str, float] | None
    others: list[Copy]


class Progress(BaseModel):
    """Numbers of the suspects still open, in their order, and the label decided on by number."""

    open: list[int]
    decided: dict[int, str]


class Review(Progress):
    """All that the page needs."""

    reviewer: str
    file: str
    groups: list[str] = list(AGE_GROUPS)
    items: list[Item]


class Choice(BaseModel):
    """A decision: the label of a suspect is this; '' skips it."""

    model_config = ConfigDict(extra="forbid")
    number: int
    label: Literal["YOUNG", "MIDDLE", "OLD", ""]


def create_review_app(review: ReviewSet, settings: Settings | None = None) -> FastAPI:
    """Create the app; the images that it shows are the suspects' and their copies', and no other."""
    settings = settings or Settings(workers=1)
    app = FastAPI(title="threeages review", version=__version__, docs_url=None, redoc_url=None,
                  openapi_url=None, redirect_slashes=False)  # fmt: skip
    app.state.draining = False
    _add_review(app, review)
    _add_images(app, review)
    _add_page(app)
    add_guards(app, settings, Metrics(), PATHS)
    return app


def serve_review(review: ReviewSet, settings: Settings, *, host: str, port: int) -> None:
    """Serve the page until SIGINT or SIGTERM; raises ConfigError where it cannot listen."""
    log.setLevel(logging.WARNING)  # a line for every key pressed tells nothing
    run_app(create_review_app(review, settings), settings, host=host, port=port)


def create_review_settings(
    host: str, *, api_keys: Path | None = None, allowed_hosts: Sequence[str] | None = None
) -> Settings:
    """The settings for the options of the command.

    Raises ConfigError where the address reaches other machines and no key is asked for.
    """
    settings = create_settings(
        host=host, workers=1, key_file=api_keys, max_error=None, coverage=None, rate_limit=None,
        max_body_mb=1, max_images=1, max_megapixels=50, allowed_hosts=allowed_hosts, cors_origins=None,
    )  # fmt: skip
    if not (is_loopback(host) or settings.api_keys):
        raise ConfigError(
            f"On {host} everyone in the network could see the images and change labels.",
            hint="Give --api-keys FILE, or stay on --host 127.0.0.1.",
        )
    return settings


def _add_review(app: FastAPI, review: ReviewSet) -> None:
    items = [_describe(review, suspect) for suspect in review.suspects]

    @app.get("/v1/review")
    def show_review() -> Review:
        return Review(
            open=review.list_open(),
            decided=review.list_decided(),
            reviewer=review.reviewer,
            file=review.out.name,
            items=items,
        )

    @app.post("/v1/decisions")
    def add(choice: Choice, request: Request) -> Progress:
        _refuse_foreign(request)
        if not 0 <= choice.number < len(review.suspects):
            raise RequestError(404, f"There is no suspect {choice.number}.", hint="Load the page again.")
        review.add(choice.number, choice.label)
        return Progress(open=review.list_open(), decided=review.list_decided())


def _refuse_foreign(request: Request) -> None:
    """Refuse what a page of another site may send without being asked: a form, or a request of its own."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise RequestError(
            415, "A decision is sent as json.", hint="Set the header Content-Type to application/json."
        )
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise RequestError(403, "Only the page of this review decides.", hint="Open it in the browser.")


def _add_images(app: FastAPI, review: ReviewSet) -> None:
    shown = {row for suspect in review.suspects for row in (suspect.row, *suspect.others)}

    @app.get("/v1/images/{row}")
    def show_image(row: int) -> Response:
        if row not in shown:
            raise RequestError(404, f"Row {row} is not among the suspects.")
        pixels = load_image(review.manifest.root / review.manifest.paths[row])
        return Response(to_png(_shrink(pixels)), media_type="image/png")


def _add_page(app: FastAPI) -> None:
    index = HTMLResponse((PAGE / "review.html").read_text(encoding="utf-8"))

    @app.get("/", include_in_schema=False)
    def show_index() -> HTMLResponse:
        return index

    app.mount("/page", StaticFiles(directory=PAGE), name="page")


def _describe(review: ReviewSet, suspect: Suspect) -> Item:
    manifest = review.manifest
    return Item(
        row=suspect.row,
        path=manifest.paths[suspect.row],
        label=AGE_GROUPS[manifest.labels[suspect.row]],
        suggestion=None if suspect.suggestion is None else AGE_GROUPS[suspect.suggestion],
        reason=suspect.reason,
        quality=suspect.quality if math.isfinite(suspect.quality) else None,
        probs=None if suspect.probs is None else dict(zip(AGE_GROUPS, suspect.probs, strict=True)),
        others=[
            Copy(row=row, path=manifest.paths[row], label=_label_name(int(manifest.labels[row])))
            for row in suspect.others
        ],
    )


def _label_name(label: int) -> str | None:
    return AGE_GROUPS[label] if label >= 0 else None


def _shrink(pixels: Pixels) -> Pixels:
    scale = LARGEST / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
