"""From a request's bytes to an answer's: the only place where the server meets the engine. Runs in a worker."""

import base64
import time
from dataclasses import dataclass, replace

import numpy as np
import PIL.Image

from retouch import engine
from retouch import image as images
from retouch.encode import NARROWED
from retouch.errors import ImageError, RetouchError
from retouch.server.job_queue import Progress
from retouch.server.model_store import ModelStore
from retouch.server.problems import HttpError, problem_of
from retouch.server.requests import MaskRequest, ParsedRequest, decoded

THUMBNAIL = 256  # px: the longer side
BAND = 256  # rows of a layer that are floats at a time
MEDIA = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What was made.

    Args:
        files: the bytes of each picture.
        media: their media type.
        model: the name of the model.
        seed: that it used.
        seconds: that the work took, without waiting.
        pixels: of the photograph.
        notes: what was converted or is not kept, one readable line each.
        ignored: fields of the request that have no meaning here.
    """

    files: tuple[bytes, ...]
    media: str
    model: str
    seed: int
    seconds: float
    pixels: int
    notes: tuple[str, ...]
    ignored: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """As the answer in JSON, with the pictures as data URLs."""
        return {
            "images": [f"data:{self.media};base64,{base64.b64encode(file).decode()}" for file in self.files],
            "seed": self.seed,
            "model": self.model,
            "elapsed_ms": round(self.seconds * 1000),
            "notes": list(self.notes),
            "ignored": list(self.ignored),
        }


def complete(
    parsed: ParsedRequest, models: ModelStore, name: str, max_pixels: int, progress: Progress
) -> Answer:
    """Reads, completes and encodes. A photograph without a hole comes back byte for byte, as from the command;
    one with a layer of what was completed before is encoded with that.

    Raises:
        HttpError: for the pictures.
        ModelError, MissingExtraError: the model cannot be loaded or fails.
        StoppedError: from ``progress``.
    """
    started = time.perf_counter()
    progress(0, 0)  # perhaps nobody wants it any more
    photo = _read(parsed.image, "image", max_pixels)
    if parsed.filled is not None:
        photo = _with_layer(photo, _read(parsed.filled, "filled", max_pixels))
    try:
        hole = images.read_mask(parsed.mask, photo.size, max_pixels=max_pixels)
    except RetouchError as error:
        raise problem_of(error, "mask") from error
    options = parsed.options
    completed = [photo]
    source = parsed.image if parsed.filled is None else None
    if hole.any():
        source = None
        predictors = models.get(name).answers(options.variants)
        completed = [
            engine.complete(
                photo,
                hole,
                predictor,
                seed=parsed.seed,
                dilate=options.dilate,
                feather=options.feather,
                blend=options.blend,
                batch_size=1,  # told and stopped after each window, at least; the result does not depend on it
                progress=engine.among(progress, number, len(predictors)),
            )
            for number, predictor in enumerate(predictors)
        ]
    files = [_encoded(picture, source) for picture in completed]
    _, notes, kind = files[0]
    return Answer(
        files=tuple(data for data, _, _ in files),
        media=MEDIA[kind],
        model=name,
        seed=parsed.seed,
        seconds=time.perf_counter() - started,
        pixels=photo.width * photo.height,
        notes=notes,
        ignored=parsed.ignored,
    )


def adjusted(asked: MaskRequest, max_pixels: int) -> bytes:
    """A mask as PNG, its white part grown or shrunk by a circle, or inverted.

    Raises:
        HttpError: for the picture.
    """
    data = decoded(asked.mask, "mask")
    white = images.hole_of(_read(data, "mask", max_pixels))
    match asked.operate:
        case "expand":
            white = engine.dilated(white, asked.kernel_size)
        case "shrink":
            white = ~engine.dilated(~white, asked.kernel_size)
        case "reverse":
            white = ~white
    return images.encode(images.read(white.astype(np.uint8) * 255), "PNG")


def preview(data: bytes, max_pixels: int) -> bytes:
    """Any picture that is read, as a PNG of 8 bits that every browser shows.

    Raises:
        HttpError: for the picture.
    """
    return images.encode(_in_8_bits(data, max_pixels), "PNG")


def thumbnail(data: bytes, max_pixels: int) -> bytes:
    """Any picture that is read, as a JPEG of at most ``THUMBNAIL`` px a side; white where it is transparent.

    Raises:
        HttpError: for the picture.
    """
    small = images.to_pil(_in_8_bits(data, max_pixels)).convert("RGBA")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    white = PIL.Image.new("RGBA", small.size, "white")
    flat = PIL.Image.alpha_composite(white, small).convert("RGB")
    return images.encode(images.read(np.asarray(flat)), "JPEG")


def _in_8_bits(data: bytes, max_pixels: int) -> images.Photo:
    photo = _read(data, "image", max_pixels)
    return replace(photo, pixels=NARROWED[photo.pixels]) if photo.depth == 16 else photo


def _read(data: bytes, field: str, max_pixels: int) -> images.Photo:
    try:
        return images.read(data, max_pixels=max_pixels)
    except RetouchError as error:
        raise problem_of(error, field) from error


def _with_layer(photo: images.Photo, layer: images.Photo) -> images.Photo:
    """The photograph with the opaque pixels of a layer, which were completed before, in their place.

    Raises:
        HttpError: 422 for a layer that does not fit.
    """
    if (layer.format, layer.mode, layer.depth) != ("PNG", "RGBA", 8):
        got = f"a {layer.format} of {layer.depth}-bit {layer.mode}"
        raise HttpError("wrong_picture", f"filled: expected a PNG of 8-bit RGBA, got {got}")
    if layer.size != photo.size:
        raise HttpError(
            "wrong_picture",
            f"filled: expected a layer of the image's size, {photo.width} x {photo.height}, "
            f"got one of {layer.width} x {layer.height}",
        )
    opaque = layer.pixels[..., 3] >= 128
    whole = slice(0, photo.width)
    bands = (slice(top, min(top + BAND, photo.height)) for top in range(0, photo.height, BAND))
    patches = (
        images.Patch(rows, whole, images.rgb(layer, rows, whole)) for rows in bands if opaque[rows].any()
    )
    return images.composite(photo, opaque, patches)


def _encoded(photo: images.Photo, source: bytes | None) -> tuple[bytes, tuple[str, ...], str]:
    """In the format that its output has, or as PNG where that cannot hold what was read of it; notes; which it is."""
    try:
        return *images.as_file(photo, photo.written, source), photo.written
    except ImageError:
        return *images.as_file(photo, "PNG"), "PNG"
