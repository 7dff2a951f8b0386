"""What OpenAPI says of requests and answers that FastAPI cannot tell from the signatures."""

from typing import Any

from pydantic import BaseModel, Field

from retouch.server.completing import MEDIA
from retouch.server.requests import FILES, FormOptions, InpaintRequest

PICTURE = {"type": "string", "contentMediaType": "application/octet-stream"}
NUMBER_HEADER = {"schema": {"type": "integer", "minimum": 0}}

FILE = {"schema": {"type": "string", "format": "binary"}}
PICTURES: dict[str, Any] = dict.fromkeys(MEDIA.values(), FILE)


class InpaintAnswer(BaseModel):
    """A completion as JSON, and the data of the event ``result``."""

    images: list[str] = Field(description="The pictures as data URLs, in the photograph's format.")
    seed: int
    model: str
    elapsed_ms: int = Field(description="Of the work, without waiting.")
    notes: list[str] = Field(description="What could not be taken as it was, or is not kept.")
    ignored: list[str] = Field(description="Fields of the request that have no meaning here.")


class ModelAnswer(BaseModel):
    """One model."""

    name: str
    current: bool = Field(description="Whether it is used where a request names none.")
    loaded: bool
    classical: bool = Field(description="Whether it is no network, and needs no training.")
    several: bool = Field(description="Whether it can give several answers (variants).")
    good_for: str
    licence: str
    bytes: int = Field(description="Size of the weights; 0 where there are none.")
    quality: list[dict[str, str | float]] = Field(
        description="Measured rows, of this model and of baselines."
    )


class IOPaintModel(BaseModel):
    """One model as IOPaint describes it."""

    name: str
    path: str
    model_type: str = "inpaint"
    is_single_file_diffusers: bool = False
    need_prompt: bool = False
    controlnets: list[str] = []
    brushnets: list[str] = []
    support_strength: bool = False
    support_outpainting: bool = False
    support_lcm_lora: bool = False
    support_controlnet: bool = False
    support_brushnet: bool = False
    support_powerpaint_v2: bool = False


class LimitsAnswer(BaseModel):
    """What the server takes."""

    max_bytes: int
    max_pixels: int
    max_variants: int
    seconds: float


class ConfigAnswer(BaseModel):
    """As IOPaint's server-config, with our limits."""

    version: str
    limits: LimitsAnswer
    formats: list[str]  # that are read
    blends: list[str]
    inputFolder: bool  # noqa: N815
    outputFolder: bool  # noqa: N815
    modelInfos: list[IOPaintModel]  # noqa: N815
    plugins: list[str] = []
    removeBGModel: str = ""  # noqa: N815
    removeBGModels: list[str] = []  # noqa: N815
    realesrganModel: str = ""  # noqa: N815
    realesrganModels: list[str] = []  # noqa: N815
    interactiveSegModel: str = ""  # noqa: N815
    interactiveSegModels: list[str] = []  # noqa: N815
    enableFileManager: bool = False  # noqa: N815
    enableAutoSaving: bool = False  # noqa: N815
    enableControlnet: bool = False  # noqa: N815
    controlnetMethod: str | None = None  # noqa: N815
    disableModelSwitch: bool = False  # noqa: N815
    isDesktop: bool = False  # noqa: N815
    samplers: list[str] = []


class StateAnswer(BaseModel):
    """Whether the server is well."""

    status: str
    model: str


def body_of(content: dict[str, Any]) -> dict[str, Any]:
    """``openapi_extra`` of an operation with a body."""
    return {"requestBody": {"required": True, "content": content}}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """``openapi_extra`` of an operation that takes a model as JSON."""
    return body_of({"application/json": {"schema": model.model_json_schema()}})


def inpaint_body() -> dict[str, Any]:
    """A form with two files or three, or JSON with as many pictures in base64."""
    form = FormOptions.model_json_schema()
    pictures = {name: {**PICTURE, "description": said} for name, said in FILES.items()}
    form["properties"] = {**pictures, **form["properties"]}
    form["required"] = ["image", "mask"]
    return body_of(
        {
            "multipart/form-data": {
                "schema": form,
                "encoding": {name: {"contentType": "application/octet-stream"} for name in FILES},
            },
            "application/json": {"schema": InpaintRequest.model_json_schema()},
        }
    )


def picture_body() -> dict[str, Any]:
    """The bytes of a picture file as the whole body."""
    return body_of({"application/octet-stream": FILE})


def inpaint_answers() -> dict[int | str, dict[str, Any]]:
    """A picture, JSON, or events, as ``Accept`` asks."""
    headers = {
        "X-Seed": {**NUMBER_HEADER, "description": "The seed that was used."},
        "X-Model": {"schema": {"type": "string"}, "description": "The model's name, percent-encoded."},
        "X-Elapsed-Ms": {**NUMBER_HEADER, "description": "Of the work, without waiting."},
        "X-Ignored": {
            "schema": {"type": "string"},
            "description": "Fields of the request that have no meaning here, with commas between.",
        },
        "X-Notes": {
            "schema": {"type": "string"},
            "description": "What of the photograph could not be taken as it was, or is not kept, "
            "percent-encoded, `;` between.",
        },
    }
    return {
        200: {
            "description": "The completed photograph in its own format. With `Accept: application/json` and no "
            "picture accepted beside it, or for more than one variant, JSON. With "
            "`Accept: text/event-stream` events: `progress` "
            '({"done": n, "total": m} windows, in part where one takes long), and in the end `result` (as the '
            "JSON) or `error` (as errors, with `status`). Closing the connection cancels the work.",
            "headers": headers,
            "content": {
                **PICTURES,
                "application/json": {"schema": InpaintAnswer.model_json_schema()},
                "text/event-stream": {"schema": {"type": "string"}},
            },
        }
    }


def png_answer(description: str) -> dict[int | str, dict[str, Any]]:
    """A PNG file."""
    return {
        200: {
            "description": description,
            "content": {"image/png": FILE},
        }
    }
