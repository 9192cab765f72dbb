"""The FastAPI app: routes over the engine, and the page."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from threeages import __version__
from threeages.errors import ThreeAgesError, format_count
from threeages.evaluation.front_matter import remove_front_matter
from threeages.files.checksums import digest_file
from threeages.inference.brackets import Brackets
from threeages.inference.occlusion import to_png
from threeages.inference.records import REJECTION_REASONS, Record
from threeages.inference.writers import SET_SEPARATOR, format_records, list_columns
from threeages.machine import ONNX_RUNTIME, OPENCV, list_versions
from threeages.server.address import Address
from threeages.server.engine import Engine
from threeages.server.guard import Guard
from threeages.server.metrics import Metrics
from threeages.server.monitoring import Monitoring
from threeages.server.problems import RequestError, answer_error, answer_http_error, problem
from threeages.server.reading import Reader
from threeages.server.schemas import (
    RECORD_EXAMPLES,
    CsvColumn,
    ModelResponse,
    OcclusionResponse,
    PredictResponse,
    RecordFormat,
    RiskResponse,
    State,
    extra_schemas,
    labels_body,
    predict_body,
    problems,
)
from threeages.server.settings import Settings

PAGE = Path(__file__).parent / "page"
FORMATS = {"application/x-ndjson": "jsonl", "text/csv": "csv"}  # of records, by the Accept header
LIBRARIES = (*ONNX_RUNTIME, *OPENCV, "pillow", "numpy", "fastapi", "uvicorn")
PATHS = frozenset(
    {
        *("/", "/v1/predict", "/v1/occlusion", "/v1/labels", "/v1/model"),
        *("/healthz", "/readyz", "/metrics", "/openapi.json"),
    }
)


def create_app(model: Path, settings: Settings | None = None) -> FastAPI:
    """Create the service for one exported model; its processes start and end with the app's lifespan.

    Raises ModelError where the file is not a model that this package exported, and ConfigError where it was
    not measured for the target error rate or the target coverage of the settings.
    """
    settings = settings or Settings()
    metrics = Metrics()
    engine = Engine(model, settings, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await engine.start()
        try:
            yield
        finally:
            await engine.stop()

    app = FastAPI(
        title="threeages",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would lead out of a proxy's sub-path; Address cleans the path
    )
    app.state.draining = False
    reader = Reader(settings)
    monitoring = Monitoring(settings, metrics.registry)
    _add_predict(app, engine, reader, monitoring, settings.brackets)
    _add_occlusion(app, engine, reader)
    _add_labels(app, reader, monitoring)
    _add_states(app, engine, metrics)
    _add_model(app, model, engine, settings)
    _add_page(app, settings.root_path)
    add_guards(app, settings, metrics, PATHS)
    app.openapi = lambda: _openapi(app, settings.root_path)  # type: ignore[method-assign]
    return app


def add_guards(app: FastAPI, settings: Settings, metrics: Metrics, paths: frozenset[str]) -> None:
    """Put what every request passes around the routes of an app, and translate its errors.

    `paths` are those that the metrics tell apart.
    """
    app.add_exception_handler(ThreeAgesError, answer_error)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_middleware(Guard, settings=settings, metrics=metrics, paths=paths)
    if settings.cors_origins:  # added after and so outside: a page must be able to read refusals too
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key"],
            expose_headers=["Retry-After"],
        )
    app.add_middleware(Address, root_path=settings.root_path)


def _add_predict(
    app: FastAPI, engine: Engine, reader: Reader, monitoring: Monitoring, brackets: Brackets | None
) -> None:
    @app.post(
        "/v1/predict",
        response_model=PredictResponse,
        responses={
            200: {"content": {media_type: {} for media_type in FORMATS}},
            **problems(400, 401, 408, 413, 415, 421, 422, 429, 500, 503, 504),
        },
        openapi_extra=predict_body(),
        summary="Age group of every face in one or many images",
    )
    async def predict(
        request: Request,
        detect: bool = Query(True, description="false takes every image whole, as a face crop."),
        together: bool = Query(
            False, description="The images show the same person: adds a last record for all of them together."
        ),
    ) -> Response:
        """An image that cannot be read becomes a record with a status and costs no other image its answer.

        With `together=true` one more record comes last: it pools the largest face of each image, its `path`
        is `together` and it has no box. Send all images of the person in one request.

        With `Accept: application/x-ndjson` each line of the answer is a record, with `Accept: text/csv` each
        row.
        """
        async with reader.images(request) as uploads:
            records = await engine.predict(uploads, detect=detect, together=together)
        monitoring.watch_records(records[:-1] if together else records)
        return _format_answer(records, request.headers.get("accept", ""), brackets)


def _add_occlusion(app: FastAPI, engine: Engine, reader: Reader) -> None:
    @app.post(
        "/v1/occlusion",
        responses=problems(400, 401, 408, 413, 415, 421, 422, 429, 500, 503, 504),
        openapi_extra=predict_body(),
        summary="Occlusion map of one face",
    )
    async def occlusion(
        request: Request,
        face: int = Query(0, ge=0, le=1000, description="Its place among the image's records."),
        detect: bool = Query(True, description="false takes the image whole, as a face crop."),
    ) -> OcclusionResponse:
        """Covers 64 patches of the face, one at a time, and runs the model on each copy; takes one image."""
        async with reader.images(request) as uploads:
            if len(uploads) > 1:
                raise RequestError(
                    422, f"The request has {format_count(uploads, 'image')}.", hint="Send one."
                )
            found = await engine.explain(uploads[0], face, detect=detect)
        return OcclusionResponse(
            age_group=found.age_group,
            crop=base64.b64encode(to_png(found.crop)).decode(),
            size=len(found.crop),
            drops=found.drops,
        )


def _add_labels(app: FastAPI, reader: Reader, monitoring: Monitoring) -> None:
    @app.post(
        "/v1/labels",
        responses=problems(400, 401, 408, 409, 413, 415, 421, 422, 429, 500, 503),
        openapi_extra=labels_body(),
        summary="Labels of earlier answers: does the threshold still hold?",
    )
    async def labels(request: Request) -> RiskResponse:
        """Counts errors against the target error rate; keeps numbers only, no answer, image or name.

        Send the answers of status `ok` for which the true age group became known, in the order of time,
        however it was found: a choice by the answer would bias the risk. Of one person send one answer.
        """
        return monitoring.add_labels(await reader.labels(request))


def _format_answer(records: list[Record], accept: str, brackets: Brackets | None) -> Response:
    for media_type, kind in FORMATS.items():
        if media_type in accept:
            return Response(format_records(records, kind, brackets), media_type=media_type)
    return JSONResponse({"records": [record.to_dict() for record in records]})


def _add_states(app: FastAPI, engine: Engine, metrics: Metrics) -> None:
    @app.get("/healthz", summary="Is the process alive?", responses=problems(421))
    async def healthz() -> State:
        return State(status="ok")

    @app.get("/readyz", response_model=State, summary="May requests be sent?", responses=problems(421, 503))
    async def readyz() -> Any:
        if app.state.draining or not engine.ready:
            return problem(503, "The service is starting or stopping.", headers={"Retry-After": "1"})
        return State(status="ready")

    @app.get(
        "/metrics", summary="Metrics for Prometheus", response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **problems(401, 421, 429)},
    )  # fmt: skip
    async def show_metrics() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")


def _add_model(app: FastAPI, path: Path, engine: Engine, settings: Settings) -> None:
    signature = engine.model.signature
    card = path.with_suffix(".md")
    answer = ModelResponse(
        name="threeages",
        version=__version__,
        model=signature.name,
        description=f"threeages {__version__}, model {signature.name}",
        signature=asdict(signature),
        sha256=digest_file(path),
        versions=list_versions(LIBRARIES),
        card=remove_front_matter(card.read_text(encoding="utf-8")) if card.is_file() else None,
        limits={name: getattr(settings, name) for name in ("max_body", "max_images", "max_pixels")},
        features={"age": engine.model.has_years},
        records=RecordFormat(
            columns=[
                CsvColumn(name=c.name, keys=list(c.keys), digits=c.digits)
                for c in list_columns(settings.brackets)
            ],
            set_separator=SET_SEPARATOR,
            rejection_reasons=REJECTION_REASONS,
        ),
    )

    @app.get(
        "/v1/model",
        summary="Card, signature, versions and the format of records",
        responses=problems(401, 421, 429),
    )
    async def model() -> ModelResponse:
        return answer


def _add_page(app: FastAPI, root_path: str) -> None:
    # its addresses are relative, which suits every sub-path; a known one also suits the address without its
    # last slash
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    index = HTMLResponse(html.replace('="page/', f'="{root_path}/page/') if root_path else html)
    index.headers["Cache-Control"] = "no-cache"

    @app.get("/", include_in_schema=False)
    async def show_index() -> HTMLResponse:
        return index

    app.mount("/page", StaticFiles(directory=PAGE), name="page")


async def _answer_invalid(request: Request, error: Any) -> JSONResponse:
    first = error.errors()[0]
    return problem(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}.", "See GET /openapi.json.")


def _openapi(app: FastAPI, root_path: str) -> dict[str, Any]:
    if not app.openapi_schema:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes, description=__doc__)
        if root_path:
            schema["servers"] = [{"url": root_path}]
        schemas = schema["components"]["schemas"]
        schemas.update(extra_schemas())
        schemas["RecordOut"]["examples"] = RECORD_EXAMPLES  # here, as FastAPI drops what is null
        app.openapi_schema = schema
    return app.openapi_schema
