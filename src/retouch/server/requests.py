"""What a request for a completion asks: our own fields, and those of IOPaint 1.6, whose clients work unchanged."""

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from retouch.engine import FEATHER, Blend
from retouch.server.bodies import from_json, parts, type_of
from retouch.server.problems import HttpError, problem_of_fields

MOST_VARIANTS = 8
WIDEST = 512  # px: of dilation and feather
SEEDS = 1 << 63
FROM_ADDRESSES = str.maketrans("-_", "+/")  # base64 as addresses have it
FILLED = (
    "What was completed before: a PNG of RGBA, 8 bits and the photograph's upright size. Its opaque pixels take the "
    "photograph's place first, so that a JPEG that is filled again and again is compressed once."
)
FILES = {  # the last one may be left out
    "image": "A picture's file.",
    "mask": "A picture's file of the same size: white is filled.",
    "filled": FILLED,
}

# What IOPaint 1.6 sends beside image, mask and sd_seed. None of it has a meaning for the models here: they take
# no prompt and no steps, and the engine chooses its windows by itself. Two names are misspelt by its web client.
IOPAINT = (
    *("ldm_steps", "ldm_sampler", "zits_wireframe", "cv2_flag", "cv2_radius"),
    *("hd_strategy", "hd_strategy_crop_trigger_size", "hd_strategy_crop_margin", "hd_strategy_resize_limit"),
    *("hd_strategy_crop_triger_size", "hd_trategy_resize_imit"),
    *("prompt", "negative_prompt"),
    *("use_croper", "croper_x", "croper_y", "croper_height", "croper_width"),
    *("use_extender", "extender_x", "extender_y", "extender_height", "extender_width"),
    *("sd_scale", "sd_mask_blur", "sd_strength", "sd_steps", "sd_guidance_scale", "sd_sampler"),
    *("sd_match_histograms", "sd_outpainting_softness", "sd_outpainting_space", "sd_lcm_lora"),
    *("sd_keep_unmasked_area", "sd_freeu", "sd_freeu_config"),
    *("paint_by_example_example_image", "p2p_image_guidance_scale"),
    *("enable_controlnet", "controlnet_conditioning_scale", "controlnet_method"),
    *("enable_brushnet", "brushnet_method", "brushnet_conditioning_scale"),
    *("enable_powerpaint_v2", "powerpaint_task", "fitting_degree"),
)


class Options(BaseModel):
    """The fields that are not pictures."""

    model_config = ConfigDict(extra="forbid", title="Options")

    model: Annotated[
        str | None, Field(description="A name from /api/v1/models; the current one by default.")
    ] = None
    seed: Annotated[int, Field(ge=0, lt=SEEDS, description="For models that draw random numbers.")] = 0
    variants: Annotated[
        int,
        Field(
            ge=1,
            le=MOST_VARIANTS,
            description="How many answers are wanted; a model that draws no random numbers has one. "
            "For more than one the answer is JSON.",
        ),
    ] = 1
    dilate: Annotated[int, Field(ge=0, le=WIDEST, description="Grow the hole by so many pixels first.")] = 0
    feather: Annotated[
        int,
        Field(
            ge=1,
            le=WIDEST,
            description="Band inside the hole that meets the photograph, in pixels.",
        ),
    ] = FEATHER
    blend: Annotated[Blend, Field(description="How the two meet; `none` pastes.")] = "feather"
    sd_seed: Annotated[
        int | None, Field(ge=-1, lt=SEEDS, strict=False, description="As in IOPaint: the seed; -1 draws one.")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: Any) -> Any:
        """A field that is null is one that was left out, as clients write what they have no value for."""
        return {k: v for k, v in fields.items() if v is not None} if isinstance(fields, dict) else fields


IGNORED: dict[str, Any] = {
    name: (Any, Field(default=None, description="Of IOPaint; accepted, ignored, and named in X-Ignored."))
    for name in IOPAINT
}
FormOptions = create_model("FormOptions", __base__=Options, **IGNORED)


def _nullable(schema: dict[str, Any]) -> None:
    """Says of each field that may be left out that it may be null, too."""
    words = ("title", "description", "default", "anyOf")
    for name, field in schema["properties"].items():
        if name in schema["required"]:
            continue
        if what := {key: field.pop(key) for key in list(field) if key not in words}:
            field["anyOf"] = [what, {"type": "null"}]


class InpaintRequest(FormOptions):  # type: ignore[valid-type, misc]
    """What a request in JSON asks."""

    model_config = ConfigDict(strict=True, json_schema_extra=_nullable)

    image: Annotated[
        str, Field(description="A picture in base64, with or without `data:...;base64,` before it.")
    ]
    mask: Annotated[str, Field(description="The same for the mask: white is filled.")]
    filled: Annotated[str | None, Field(description=f"In base64: {FILLED}")] = None


class ModelRequest(BaseModel):
    """Which model is to be the current one."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(description="A name from /api/v1/models.")]


class MaskRequest(BaseModel):
    """How a mask is to be changed, as in IOPaint."""

    model_config = ConfigDict(extra="forbid", strict=True)

    mask: Annotated[str, Field(description="A picture in base64; white is filled.")]
    operate: Annotated[
        Literal["expand", "shrink", "reverse"], Field(description="Grow, shrink or invert the white part.")
    ]
    kernel_size: Annotated[int, Field(ge=1, le=WIDEST, description="By how many pixels.")] = 5


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """What is asked.

    Args:
        image, mask: bytes of picture files.
        filled: those of a layer of what was completed before, see ``FILLED``; or None.
        options: the other fields, checked.
        seed: to use.
        ignored: names of fields that were given and have no meaning here.
    """

    image: bytes
    mask: bytes
    filled: bytes | None
    options: Options
    seed: int
    ignored: tuple[str, ...]


def parsed_request(request: Request, body: bytes) -> ParsedRequest:
    """Reads a request's body: a form or JSON.

    Raises:
        HttpError: 415 for another type, 422 for fields that are not as they should be.
    """
    if request.query_params:
        name = next(iter(request.query_params))
        raise HttpError("wrong_field", f"expected all fields in the body, got {name[:80]!r} in the address")
    match type_of(request):
        case "multipart/form-data":
            return _of_form(parts(request.headers["content-type"], body))
        case "application/json":
            asked = from_json(InpaintRequest, body)
            filled = None if asked.filled is None else decoded(asked.filled, "filled")
            return _parsed(decoded(asked.image, "image"), decoded(asked.mask, "mask"), filled, asked)
        case other:
            raise HttpError(
                "wrong_body",
                f"expected a body of multipart/form-data or application/json, got {other[:80] or 'none'}",
            )


def _of_form(form: Mapping[str, bytes | str]) -> ParsedRequest:
    pictures: dict[str, bytes] = {}
    for name in FILES:
        value = form.get(name)
        if isinstance(value, bytes):
            pictures[name] = value
        elif name != "filled" or value is not None:
            raise HttpError(
                "wrong_field", f"expected a file {name!r} in the form, got {'text' if value else 'none'}"
            )
    rest = {name: value for name, value in form.items() if name not in FILES}
    files = [name for name, value in rest.items() if isinstance(value, bytes)]
    if files:
        raise HttpError(
            "wrong_field", f"expected the files 'image', 'mask' and 'filled', got another: {files[0][:80]!r}"
        )
    try:
        options = FormOptions.model_validate(rest)
    except ValidationError as error:
        raise problem_of_fields(error) from None
    return _parsed(pictures["image"], pictures["mask"], pictures.get("filled"), options)


def _parsed(image: bytes, mask: bytes, filled: bytes | None, options: Options) -> ParsedRequest:
    given = options.model_fields_set
    ignored = [name for name in IOPAINT if name in given]
    seed = options.seed
    if options.sd_seed is not None:
        if "seed" in given:
            ignored.append("sd_seed")
        else:
            seed = secrets.randbelow(1 << 31) if options.sd_seed < 0 else options.sd_seed
    return ParsedRequest(image, mask, filled, options, seed, tuple(ignored))


def decoded(text: str, field: str) -> bytes:
    """The bytes of a base64 text, also of the kind for addresses, with or without ``data:...;base64,`` before it.

    Raises:
        HttpError: 422.
    """
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        letters = "".join(text.split()).translate(FROM_ADDRESSES).rstrip("=")
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise HttpError("wrong_field", f"{field}: expected a picture in base64, got something else") from None
