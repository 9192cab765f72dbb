"""Schemas of requests and answers, as OpenAPI shows them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from threeages.inference.records import OK, REJECTION_REASONS, Record
from threeages.server.problems import MEDIA_TYPE

MAX_NAME = 255
MAX_LABELS = 1000  # in a request
AgeGroup = Literal["YOUNG", "MIDDLE", "OLD"]

RECORD_EXAMPLES = [
    Record(
        "portrait.jpg",
        OK,
        box=(193, 82, 297, 231),
        age_group="MIDDLE",
        probs={"YOUNG": 0.21, "MIDDLE": 0.63, "OLD": 0.16},
        confidence=0.63,
        age=38.5,
        age_low=24.0,
        age_high=55.0,
        age_set=["YOUNG", "MIDDLE"],
    ).to_dict(),
    Record("landscape.jpg", "no_face", message=REJECTION_REASONS["no_face"]).to_dict(),
]


class ImageItem(BaseModel):
    """One image in base64 or as a data URL."""

    model_config = ConfigDict(extra="forbid")
    name: str | None = Field(None, max_length=MAX_NAME, description="The `path` of the records.")
    data: str = Field(description="The file's bytes in base64, of either alphabet, or a data URL.")


class PredictRequest(BaseModel):
    """Images as JSON."""

    model_config = ConfigDict(extra="forbid")
    images: list[ImageItem]


class Probs(BaseModel):
    """Probability of each age group."""

    model_config = ConfigDict(extra="forbid")
    YOUNG: float = Field(ge=0, le=1)
    MIDDLE: float = Field(ge=0, le=1)
    OLD: float = Field(ge=0, le=1)


class RecordOut(BaseModel):
    """The answer for one face, or the reason why there is none; a line of `threeages predict --jsonl`."""

    model_config = ConfigDict(extra="forbid")
    path: str = Field(
        description="The image's name, as it was sent; 'together' in the last record of together=true."
    )
    status: str = Field(description="'ok', a rejection reason such as 'no_face', or why it cannot be read.")
    box: list[int] | None = Field(
        min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels of the upright image."
    )
    age_group: AgeGroup | None = Field(description="null unless the status is 'ok'.")
    probs: Probs | None = Field(description="A rejected face keeps them.")
    confidence: float | None = Field(ge=0, le=1, description="Probability of `age_group`.")
    age: float | None = Field(description="Expected apparent age in years, where the model gives one.")
    age_low: float | None = Field(description="Lower end of its 90 % interval, in years.")
    age_high: float | None = Field(description="Upper end of its 90 % interval, in years.")
    age_set: list[AgeGroup] | None = Field(
        min_length=1, description="Prediction set, where the service runs with --coverage."
    )
    message: str = Field(description="What the status means; empty where it is 'ok'.")
    brackets: dict[str, float] = Field(
        default_factory=dict,
        description="Probability of each bracket of ages by name, where the service runs with --brackets; "
        "absent otherwise.",
    )


class PredictResponse(BaseModel):
    """The records of a request, in the order of its images; with together=true one more for all of them."""

    model_config = ConfigDict(extra="forbid")
    records: list[RecordOut]


class OcclusionResponse(BaseModel):
    """The occlusion map of one face: how much the probability drops where a patch is covered."""

    age_group: str = Field(description="The most probable age group.")
    crop: str = Field(description="The face as the model takes it: a square PNG in base64.")
    size: int = Field(description="Pixels on each side of the crop.")
    drops: list[list[float]] = Field(
        description="Rows of cells, 8 by 8: by how much the probability of `age_group` drops, 0 to 1."
    )


class LabelledAnswer(BaseModel):
    """An answer that the service gave, with the true age group."""

    model_config = ConfigDict(extra="forbid")
    age_group: AgeGroup = Field(description="As in the record, of status 'ok'.")
    label: AgeGroup = Field(description="The true age group.")


class LabelsRequest(BaseModel):
    """Labels of earlier answers; send each answer once, and of one person one answer."""

    model_config = ConfigDict(extra="forbid")
    answers: list[LabelledAnswer] = Field(min_length=1, max_length=MAX_LABELS)


class RiskResponse(BaseModel):
    """The risk of all answers with a label since the service started."""

    n: int = Field(description="Labels so far.")
    risk: float = Field(description="Share of errors among them.")
    target_error: float = Field(description="The target error rate, of --max-error.")
    level: float = Field(description="Probability of a false alarm over the whole stream.")
    e_value: float = Field(description="Evidence that the risk exceeds the target; an alarm from 1 / level.")
    alarm_at: int | None = Field(description="Number of labels after which the alarm came; null without.")


class CsvColumn(BaseModel):
    """One column of the csv of records."""

    name: str
    keys: list[str | int] = Field(description="The path to its value inside a record.")
    digits: int | None = Field(description="Decimals of a number; null writes the value as it is.")


class RecordFormat(BaseModel):
    """How records are shown and written, so that no client needs a copy of it."""

    columns: list[CsvColumn]
    set_separator: str = Field(description="Between the age groups of a prediction set in the csv.")
    rejection_reasons: dict[str, str] = Field(
        description="Texts by status: why an image that can be read gets no answer."
    )


class ModelResponse(BaseModel):
    """The product, its model and its limits."""

    name: str = Field(description="The product.")
    version: str = Field(description="The version of the product.")
    model: str = Field(description="The name of the model.")
    description: str = Field(description="All three in a line.")
    signature: dict[str, Any]
    sha256: str = Field(description="Of the model's file.")
    versions: dict[str, str] = Field(description="Of the libraries that decode, detect and compute.")
    card: str | None = Field(
        description="The model card in Markdown without its metadata, where the model has one."
    )
    limits: dict[str, int]
    features: dict[str, bool] = Field(description="Whether the model gives an apparent age.")
    records: RecordFormat


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


def labels_body() -> dict[str, Any]:
    """OpenAPI's request body of /v1/labels."""
    example = {"answers": [{"age_group": "MIDDLE", "label": "YOUNG"}]}
    schema = {"$ref": "#/components/schemas/LabelsRequest"}
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def extra_schemas() -> dict[str, Any]:
    """Schemas that only the entries above name."""
    labels = LabelsRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    return {
        **labels.pop("$defs"),
        "Problem": Problem.model_json_schema(),
        "ImageItem": ImageItem.model_json_schema(),
        "LabelsRequest": labels,
    }
