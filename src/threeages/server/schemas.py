"""The shapes of requests and answers, as OpenAPI shows them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from threeages.server.problems import MEDIA_TYPE

MAX_NAME = 255

RECORD_EXAMPLE: dict[str, Any] = {
    "path": "portrait.jpg",
    "status": "ok",
    "box": [193, 82, 297, 231],
    "age_group": "MIDDLE",
    "probs": {"YOUNG": 0.21, "MIDDLE": 0.63, "OLD": 0.16},
    "confidence": 0.63,
    "message": "",
}
ABSENT_EXAMPLE: dict[str, Any] = {
    "path": "landscape.jpg",
    "status": "no_face",
    "box": None,
    "age_group": None,
    "probs": None,
    "confidence": None,
    "message": "No face was found.",
}


class ImageItem(BaseModel):
    """One image in base64; a data URL is taken too."""

    model_config = ConfigDict(extra="forbid")
    name: str | None = Field(None, max_length=MAX_NAME, description="Comes back as the record's `path`.")
    data: str = Field(description="The file's bytes in base64.")


class PredictRequest(BaseModel):
    """Images as JSON."""

    model_config = ConfigDict(extra="forbid")
    images: list[ImageItem]


class RecordOut(BaseModel):
    """One face, or why there is none; as a line of `threeages predict --jsonl`."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [RECORD_EXAMPLE, ABSENT_EXAMPLE]})
    path: str = Field(description="The image's name, as it was sent.")
    status: str = Field(description="'ok', or the reason why there is no answer, such as 'no_face'.")
    box: list[int] | None = Field(description="x1, y1, x2, y2 in pixels of the upright image.")
    age_group: str | None = Field(description="YOUNG, MIDDLE or OLD.")
    probs: dict[str, float] | None
    confidence: float | None
    message: str


class PredictResponse(BaseModel):
    """The records of a request, in the order of its images."""

    records: list[RecordOut]


class HeatmapResponse(BaseModel):
    """What counted for the answer of one face: how much its probability falls where a patch is covered."""

    age_group: str
    crop: str = Field(description="The face as the model saw it: a square PNG in base64.")
    size: int = Field(description="Pixels on each side of the crop.")
    largest: float = Field(description="The largest fall of the group's probability.")
    grid: list[list[float]] = Field(description="Rows of shares 0 to 1 of the largest fall.")


class ModelResponse(BaseModel):
    """What answers, and what it allows."""

    name: str
    version: str = Field(description="Of the package threeages.")
    signature: dict[str, Any]
    sha256: str = Field(description="Of the model's file.")
    versions: dict[str, str] = Field(description="Of the libraries that decode, detect and compute.")
    card: str | None = Field(description="The model card in Markdown, where the package ships one.")
    limits: dict[str, int]
    features: dict[str, bool]


class State(BaseModel):
    """Whether the service lives, or is ready."""

    status: str


class Problem(BaseModel):
    """A refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    hint: str


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's entries of the refusals an operation may answer with."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": "Refused", "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses
    }


def predict_body() -> dict[str, Any]:
    """OpenAPI's request body of /v1/predict: a form, JSON or a raw image."""
    binary = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "properties": {"images": {"type": "array", "items": binary, "minItems": 1}},
        "required": ["images"],
    }
    json_schema = PredictRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    json_schema.pop("$defs")
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABc3UBGAAAAABJRU5ErkJggg=="
    example = {"images": [{"name": "pixel.png", "data": pixel}]}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "application/json": {"schema": json_schema, "example": example},
                "image/jpeg": {"schema": binary},
                "image/png": {"schema": binary},
                "application/octet-stream": {"schema": binary},
            },
        }
    }


def extra_schemas() -> dict[str, Any]:
    """Schemas that are only named by the entries above."""
    return {"Problem": Problem.model_json_schema(), "ImageItem": ImageItem.model_json_schema()}
