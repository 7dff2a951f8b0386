"""The REST service, asked over real connections: what it answers, what it refuses, and what it withstands."""

import base64
import contextlib
import errno
import gzip
import http.client
import importlib.resources
import inspect
import io
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import parse_qs, quote, unquote

import cv2
import numpy as np
import pytest
from files import avif, heic, png_bomb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from processes import until
from scipy import ndimage

import retouch
from retouch import cli, engine
from retouch import image as images
from retouch.batch import settings as batch
from retouch.cli import main
from retouch.errors import MissingExtraError, ModelError

pytest.importorskip("fastapi")
from serving import Gated, Site, Slow, Watched, idle, process, ready, serving, unwanted

from retouch.dynamic_batching import Shared
from retouch.server import connections
from retouch.server.app import create_app
from retouch.server.bodies import from_json
from retouch.server.problems import CODES
from retouch.server.requests import IOPAINT, Options
from retouch.server.settings import Settings

INPAINT = "/api/v1/inpaint"


def png(pixels: np.ndarray) -> bytes:
    done, data = cv2.imencode(".png", pixels)
    assert done
    return bytes(data)


PHOTO = png(np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8))
HOLE = np.zeros((50, 60), np.uint8)
HOLE[10:20, 15:30] = 255
MASK = png(HOLE)
JPEG = bytes(cv2.imencode(".jpg", np.full((50, 60, 3), 90, np.uint8))[1])
FORM = {"image": PHOTO, "mask": MASK}


def large() -> dict[str, bytes]:
    """A photograph of many windows for a `Slow` model."""
    hole = np.zeros((200, 600), np.uint8)
    hole[60:100, 20:580] = 255
    return {"image": png(np.full((200, 600, 3), 90, np.uint8)), "mask": png(hole)}


def as_json(**fields: Any) -> dict[str, Any]:
    pictures = {"image": base64.b64encode(PHOTO).decode(), "mask": base64.b64encode(MASK).decode()}
    return pictures | fields


def refused(answer: Any, status: int, *words: str) -> dict[str, str]:
    """Checks the one shape of all errors, and that no Python shows through."""
    assert answer.status_code == status, answer.text
    problem = checked(answer.json())
    for word in words:
        assert word in problem["detail"], problem
    return problem


def checked(problem: dict[str, str]) -> dict[str, str]:
    assert set(problem) == {"error", "detail", "errors"} and problem["errors"] == problem["detail"]
    assert problem["error"] in CODES
    for trace in ("Traceback", "b'", "Error", "<class", "object at", ".py", "NoneType"):
        assert trace not in problem["detail"], problem
    return problem


@pytest.fixture(scope="module")
def site():
    with serving() as site:
        ready(site)
        yield site


# ---- answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_service_command_and_python_give_the_same_bytes(suffix, tmp_path, photo_path, mask_path, tiny_model):
    photo = tmp_path / f"in{suffix}"
    with Image.open(photo_path) as picture:
        picture.save(photo, dpi=(300, 300))
    output = tmp_path / f"out{suffix}"
    arguments = ["--model", str(tiny_model), "--dilate", "2", "--blend", "poisson", "--seed", "3"]
    assert main(["complete", str(photo), str(mask_path), "--output", str(output), *arguments]) == 0
    python = tmp_path / f"python{suffix}"
    retouch.complete(photo, mask_path, model=tiny_model, output=python, dilate=2, blend="poisson", seed=3)
    with serving(Settings(model=str(tiny_model))) as site:
        answer = site.post(
            INPAINT,
            files={"image": photo.read_bytes(), "mask": mask_path.read_bytes()},
            data={"dilate": "2", "blend": "poisson", "seed": "3"},
        )
        assert site.get("/api/v1/model").json()["path"] == "tiny"  # no path of this disk
    assert answer.status_code == 200, answer.text
    assert answer.content == output.read_bytes() == python.read_bytes()
    kind = {".jpg": "jpeg", ".tif": "tiff"}.get(suffix, suffix[1:])
    assert answer.headers["content-type"] == f"image/{kind}"
    assert (answer.headers["x-seed"], answer.headers["x-model"]) == ("3", "tiny")
    assert int(answer.headers["x-elapsed-ms"]) >= 0


def test_options_have_one_default_wherever_they_are_given():
    calls = (cli.complete, retouch.complete, retouch.Model.__call__, engine.complete)
    given = [
        {name: one.default for name, one in inspect.signature(call).parameters.items()} for call in calls
    ]
    given += [vars(Options()), asdict(batch.Settings())]
    for name in ("seed", "dilate", "feather", "blend"):
        assert len({defaults[name] for defaults in given}) == 1, name


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "an empty file"),
        (b"GIF89a....", "GIF"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"no", "something else"),
    ],
)
def test_what_is_no_picture_is_named(site, data, kind):
    problem = refused(site.post(INPAINT, files={"image": data, "mask": MASK}), 415)
    assert problem["detail"].startswith("image: expected a") and problem["detail"].endswith(f"got {kind}")


def test_what_was_converted_is_said(site):
    picture = io.BytesIO()
    Image.fromarray(np.full((50, 60, 3), 90, np.uint8)).convert("CMYK").save(picture, "JPEG")
    answer = site.post(INPAINT, files={"image": picture.getvalue(), "mask": MASK})
    (note,) = site.post(
        INPAINT,
        json=as_json(image=base64.b64encode(picture.getvalue()).decode()),
        headers={"accept": "application/json"},
    ).json()["notes"]
    assert "CMYK" in note and unquote(answer.headers["x-notes"]) == note
    assert "x-notes" not in site.post(INPAINT, files=FORM).headers


def test_what_is_not_kept_is_said(site, monkeypatch):
    """As the command says it: what of a photograph its format cannot hold, or the PNG that takes its place."""

    def notes(data: bytes, hole: np.ndarray = HOLE) -> list[str]:
        files = {"image": data, "mask": png(hole)}
        return site.post(INPAINT, files=files, headers={"Accept": "application/json"}).json()["notes"]

    def failing(_: images.Photo) -> bytes:
        raise ValueError("no room")

    iptc, plain = b"\x1c\x02\x78" + bytes(65504), images.read(PHOTO)
    resource = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">L", len(iptc)) + iptc
    stream = io.BytesIO()
    images.to_pil(plain).save(
        stream, "JPEG", extra=b"\xff\xed" + struct.pack(">H", 2 + len(resource)) + resource
    )
    (note,) = notes(stream.getvalue())
    assert "a JPEG keeps no IPTC of more than" in note
    assert notes(stream.getvalue(), np.zeros_like(HOLE)) == []  # a copy keeps all
    tiff = images.encode(replace(plain, iptc=iptc[:100]), "TIFF")
    assert notes(tiff) == []
    monkeypatch.setattr("retouch.formats.tiff", failing)
    assert notes(tiff) == ["a PNG keeps no IPTC"]


@pytest.mark.parametrize("make", [avif, heic])
def test_what_is_only_read_is_answered_as_png(site, make):
    photo = make(Image.fromarray(np.full((50, 60, 3), 90, np.uint8)))
    for mask in (MASK, png(np.zeros_like(HOLE))):  # without a hole, too, it is no copy
        answer = site.post(INPAINT, files={"image": photo, "mask": mask})
        assert answer.headers["content-type"] == "image/png"
        assert unquote(answer.headers["x-notes"]) == f"{make.__name__.upper()} is written as PNG"
        assert images.read(answer.content).size == (50, 60)
    preview = site.post("/api/v1/preview", data=photo)
    np.testing.assert_array_equal(images.read(preview.content).pixels, images.read(photo).pixels)


def test_without_the_extra_heic_is_refused(site, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    photo = heic(Image.new("RGB", (60, 50)))
    problem = refused(site.post(INPAINT, files={"image": photo, "mask": MASK}), 415)
    words = "image: reading HEIC needs the extra 'heic': pip install '.[heic]' in Retouch's folder"
    assert (problem["error"], problem["detail"]) == ("wrong_format", words)


def test_sixteen_bits_are_kept(site):
    deep = np.random.default_rng(1).integers(0, 65536, (50, 60, 3), np.uint16)
    answer = site.post(INPAINT, files={"image": png(deep), "mask": MASK})
    got = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert got.dtype == np.uint16
    assert np.array_equal(got[HOLE == 0], deep[HOLE == 0])
    assert not np.array_equal(got, deep)


def test_a_photo_without_a_hole_comes_back_byte_for_byte(site):
    answer = site.post(INPAINT, files={"image": PHOTO, "mask": png(np.zeros_like(HOLE))})
    assert answer.content == PHOTO


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_json_gives_what_a_form_gives(site, prefix):
    fields = {name: prefix + text for name, text in as_json().items()}
    wanted = site.post(INPAINT, files=FORM).content
    assert site.post(INPAINT, json=fields).content == wanted
    marked = json.dumps(fields).encode("utf-8-sig")
    kind = {"Content-Type": "application/json"}
    assert site.post(INPAINT, data=marked, headers=kind).content == wanted


def test_base64_of_addresses_is_read_too(site):
    fields = {name: base64.urlsafe_b64encode(FORM[name]).decode().rstrip("=") for name in FORM}
    assert any(set("-_") & set(text) for text in fields.values())
    assert site.post(INPAINT, json=fields).content == site.post(INPAINT, files=FORM).content


def test_nothing_given_is_left_out(site):
    """Null in JSON, and the empty file of a page's form in which none was chosen."""
    wanted = site.post(INPAINT, files=FORM).content
    options = dict.fromkeys(
        ("seed", "variants", "dilate", "feather", "blend", "model", "sd_seed", "prompt", "filled")
    )
    answer = site.post(INPAINT, json=as_json(**options))
    assert (answer.content, answer.headers.get("X-Ignored")) == (wanted, None)
    refused(site.post(INPAINT, json=as_json(mask=None)), 422, "expected a field 'mask', got none")
    chosen = {"filled": ("", b"", "application/octet-stream")}
    assert site.post(INPAINT, files=FORM | chosen).content == wanted


def test_what_iopaint_sends_is_taken(site):
    """The fields of its web client, whose misspellings are its own."""
    fields = dict.fromkeys(IOPAINT, 1) | {"prompt": "", "hd_trategy_resize_imit": 2048}
    answer = site.post(INPAINT, json=as_json(**fields, sd_seed=42))
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-seed"] == "42"
    assert set(answer.headers["x-ignored"].split(", ")) == set(IOPAINT)
    assert {"hd_strategy_crop_triger_size", "hd_trategy_resize_imit"} <= set(IOPAINT)
    drawn = {site.post(INPAINT, json=as_json(sd_seed=-1)).headers["x-seed"] for _ in range(4)}
    assert len(drawn) > 1
    both = site.post(INPAINT, json=as_json(sd_seed=1, seed=2))
    assert (both.headers["x-seed"], both.headers["x-ignored"]) == ("2", "sd_seed")


def test_json_answers(site):
    plain = site.post(INPAINT, files=FORM)
    for options in ({"data": {"variants": "2"}}, {"headers": {"Accept": "application/json"}}):
        answer = site.post(INPAINT, files=FORM, **options).json()
        assert set(answer) == {"images", "seed", "model", "elapsed_ms", "notes", "ignored"}
        (image,) = answer["images"]  # telea has one answer
        head, _, text = image.partition(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(text) == plain.content


@pytest.mark.parametrize(
    "accept",
    ["application/json, text/plain, */*", "application/json, */*;q=0.5", "image/png, application/json;q=0.1"],
)
def test_who_takes_pictures_too_gets_one(site, accept):
    """As axios and HTTPie ask where nothing is said."""
    answer = site.post(INPAINT, json=as_json(), headers={"Accept": accept})
    assert answer.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json, image/*;q=0", "application/json"),
        ("text/html, application/*;q=0.1", "application/json"),
        ("*/*, image/*; q=0.0, image/png;q=0", "application/json"),
        ("application/json;q=0", "image/png"),
        ("text/event-stream;q=0, */*", "image/png"),
        ("image/png, text/event-stream;q=0.5", "image/png"),
        ("application/json-seq, application/json;version=1;q=zero", "image/png"),
        ("TEXT/event-stream, application/json", "text/event-stream"),
        ("*/*;q=0.8, text/event-stream", "text/event-stream"),
        ("text/html", "image/png"),
        ("", "image/png"),
    ],
)
def test_accept_is_read_with_its_wildcards_and_qualities(site, accept, kind):
    answer = site.post(INPAINT, json=as_json(), headers={"Accept": accept})
    assert answer.headers["content-type"].partition(";")[0] == kind


def test_a_seed_of_iopaint_may_be_text(site):
    for seed in ("42", 42.0):
        assert site.post(INPAINT, json=as_json(sd_seed=seed)).headers["x-seed"] == "42"


def test_files_may_be_named_as_in_mails(site):
    """RFC 2231's ``filename*`` alone, as older clients send names that are not in ASCII."""
    body = requests_body()[kind := "multipart/form-data; boundary=y"]
    body = body.replace(b'filename="n"', b"filename*=utf-8''%c3%a9.png")
    answer = site.post(INPAINT, data=body, headers={"Content-Type": kind})
    assert answer.status_code == 200, answer.text


def test_a_thread_that_does_not_start_takes_no_place(monkeypatch):
    start = threading.Thread.start

    def failing(thread):
        if thread.name == "retouch-job":
            raise RuntimeError("can't start new thread")
        start(thread)

    with serving(Settings(model="telea", workers=1)) as site:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", failing)
            for _ in range(2):
                refused(site.post(INPAINT, files=FORM), 503, "cannot start a thread now")
        assert site.post(INPAINT, files=FORM).status_code == 200


def test_several_answers():
    class Several(Slow):
        def variants(self, count: int) -> list[Slow]:
            return [Slow() for _ in range(min(count, 3))]

    with serving(predictor=Several()) as site:
        answer = site.post(INPAINT, files=FORM, data={"variants": "5"}).json()
        assert len(answer["images"]) == 3
        described = {model["name"]: model for model in site.get("/api/v1/models").json()}
        assert described["telea"]["several"]


def layered(layer: np.ndarray | None, file: bytes, hole: np.ndarray) -> np.ndarray:
    """RGBA: a layer of what was completed before, and what a file shows in a hole."""
    layer = np.zeros((*hole.shape, 4), np.uint8) if layer is None else layer.copy()
    layer[hole, :3], layer[hole, 3] = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))[hole], 255
    return layer


def rgba(layer: np.ndarray) -> bytes:
    return png(cv2.cvtColor(layer, cv2.COLOR_RGBA2BGRA))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_fill_after_fill_compresses_known_pixels_once(site, kind, mode):
    """As the page asks: the photograph as it was opened, and a layer of what was completed before."""
    noise = np.random.default_rng(4).integers(0, 60, (128, 224, 3))
    pixels = (np.linspace(20, 120, 224)[:, None] + noise).astype(np.uint8)
    holes = np.zeros((12, 128, 224), bool)
    for number, hole in enumerate(holes):  # along the lower right: a WebP predicts to the right and down
        hole[100:116, 16 + 16 * number : 22 + 16 * number] = True
    pixels[holes.any(0)] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, kind, quality=92)
    source = np.asarray(Image.open(stream).convert("RGB")).astype(int)
    layer, results = None, []
    for hole in ndimage.binary_dilation(holes, np.ones((1, 7, 7))):
        files = {"image": stream.getvalue(), "mask": png(hole.astype(np.uint8) * 255)}
        answer = site.post(INPAINT, files=files if layer is None else files | {"filled": rgba(layer)})
        assert answer.status_code == 200 and answer.headers["content-type"] == f"image/{kind.lower()}"
        layer = layered(layer, answer.content, hole)
        results.append(np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB")).astype(int))
    first, last = results[0], results[-1]
    far = ndimage.distance_transform_edt(~holes.any(0)) > 24
    if kind == "JPEG":
        assert np.array_equal(last[far], first[far])
    else:  # what a WebP makes of a pixel depends a little on all others
        once, often = (np.mean((result - source)[far] ** 2) for result in (first, last))
        assert often < 1.25 * once
    assert (source - first)[holes[0]].mean() > 100
    assert np.abs(last - first)[holes[0]].mean() < 6
    assert (source - last)[holes.any(0)].mean() > 100


def test_a_layer_is_taken_exactly(site):
    """In every mode of a photograph, from a form and from JSON; without a hole the photograph is no copy."""
    colours = np.random.default_rng(5).integers(0, 256, (50, 60, 4), np.uint8)
    colours[..., 3] = 0
    colours[30:40, 40:50, 3] = 255
    colours[0, 0, 3], colours[0, 1, 3] = 127, 128
    opaque = colours[..., 3] >= 128
    plain = Image.open(io.BytesIO(PHOTO))
    for hole in (HOLE, np.zeros_like(HOLE)):
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
            stream = io.BytesIO()
            plain.convert(mode).save(stream, "PNG")
            files = {"image": stream.getvalue(), "mask": png(hole), "filled": rgba(colours)}
            form = site.post(INPAINT, files=files)
            fields = {name: base64.b64encode(data).decode() for name, data in files.items()}
            assert site.post(INPAINT, json=fields).content == form.content != stream.getvalue()
            got, known = images.read(form.content), images.read(stream.getvalue())
            layer = images.Patch(
                slice(50), slice(60), images.rgb(images.read(files["filled"]), slice(50), slice(60))
            )
            expected = images.composite(known, opaque, [layer])
            assert got.mode == mode
            assert np.array_equal(got.pixels[hole == 0], expected.pixels[hole == 0])
            if mode in ("RGB", "RGBA"):
                seen = opaque & (hole == 0)
                assert np.array_equal(got.pixels[seen][:, :3], colours[seen][:, :3])
    null = site.post(
        INPAINT, json=as_json(filled=None, mask=base64.b64encode(png(np.zeros_like(HOLE))).decode())
    )
    assert null.content == PHOTO


def test_models(site):
    models = site.get("/api/v1/models").json()
    names = [model["name"] for model in models]
    assert names[0] == "telea" and {*retouch.models(), "fsr"} <= set(names)
    assert [model["name"] for model in models if model["current"]] == ["telea"]
    assert all(model["good_for"] for model in models)
    for name, card in retouch.models().items():
        (found,) = [model for model in models if model["name"] == name]
        assert found["quality"] == [dict(row) for row in card.quality]
    for model in models:  # a baseline is described by the default model's photographs, each figure once
        data = [row["data"] for row in model["quality"] if row["model"] == model["name"]]
        if model["classical"] and data:
            assert {name.partition(",")[0] for name in data} == {"scenes256/val"}
            assert len({row["masks"] for row in model["quality"]}) == len(model["quality"])
    config = site.get("/api/v1/server-config").json()
    assert config["limits"]["max_pixels"] == 100_000_000
    assert config["formats"] == ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF", "HEIC"]
    try:
        assert site.post("/api/v1/model", json={"name": "navier-stokes"}).json()["name"] == "navier-stokes"
        assert site.post(INPAINT, files=FORM).headers["x-model"] == "navier-stokes"
    finally:
        site.post("/api/v1/model", json={"name": "telea"})
    refused(site.post("/api/v1/model", json={"name": "tela"}), 404, "telea")


def test_adjust_mask_and_preview(site):
    def adjusted(operate: str, size: int = 3) -> np.ndarray:
        fields = {"mask": base64.b64encode(MASK).decode(), "operate": operate, "kernel_size": size}
        answer = site.post("/api/v1/adjust_mask", json=fields)
        assert answer.headers["content-type"] == "image/png"
        return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_GRAYSCALE)

    assert np.array_equal(adjusted("reverse"), 255 - HOLE)
    grown, shrunk = adjusted("expand"), adjusted("shrink")
    assert grown[8, 20] == 255 and grown[6, 20] == 0
    assert shrunk[11, 20] == 0 and shrunk[15, 20] == 255
    away = ndimage.distance_transform_edt(HOLE == 0)
    for size in (1, 7, 512):  # an ellipse of OpenCV's took a minute for the last, and could not be stopped
        assert np.array_equal(adjusted("expand", size) > 0, away <= size)
    for mode, shape in {"L": (4, 5), "RGB": (4, 5, 3), "RGBA": (4, 5, 4)}.items():
        done, tiff = cv2.imencode(".tif", np.full(shape, 40000, np.uint16))
        assert done
        shown = Image.open(io.BytesIO(site.post("/api/v1/preview", data=bytes(tiff)).content))
        assert (shown.format, shown.mode, shown.size) == ("PNG", mode, (5, 4))
        assert (np.asarray(shown) == round(40000 / 257)).all()


def test_a_mask_is_decoded_once(site, monkeypatch):
    decoded, read = [], images.read
    monkeypatch.setattr(
        images, "read", lambda source, **limits: decoded.append(source) or read(source, **limits)
    )
    fields = {"mask": base64.b64encode(MASK).decode(), "operate": "reverse"}
    assert site.post("/api/v1/adjust_mask", json=fields).status_code == 200
    assert [source for source in decoded if isinstance(source, bytes)] == [MASK]
    refused(site.post("/api/v1/adjust_mask", json=fields | {"mask": fields["mask"][:-40]}), 422, "mask")


def test_a_model_that_takes_too_long_to_load_is_not_switched_to(monkeypatch):
    gate = threading.Event()
    with serving(Settings(model="telea", seconds=3)) as site:
        ready(site)
        monkeypatch.setattr(site.context.models, "_load", lambda _: gate.wait(60))
        refused(site.post("/api/v1/model", json={"name": "fsr"}), 503, "3 s")
        gate.set()
        until(lambda: idle(site))
        assert site.get("/api/v1/model").json()["name"] == "telea"


def test_a_server_of_larger_photographs_adjusts_their_masks():
    mask = base64.b64encode(png(np.zeros((10_001, 10_000), np.uint8))).decode()
    with serving(Settings(model="telea", max_megapixels=101)) as site:
        answer = site.post("/api/v1/adjust_mask", json={"mask": mask, "operate": "reverse"})
        assert answer.status_code == 200, answer.text


# ---- what is refused --------------------------------------------------------------------------------------


WRONG_FORMS = {
    "no mask": ({"image": PHOTO}, {}, 422, ["mask"]),
    "unknown field": (FORM, {"sedd": "1"}, 422, ["sedd"]),
    "unknown file": (FORM | {"other": b"x"}, {}, 422, ["other"]),
    "no name": (FORM, {"": "1"}, 422, ["unknown field ''"]),
    "not a number": (FORM, {"seed": "one"}, 422, ['seed: expected a whole number, got "one"']),
    "too many digits": (FORM, {"seed": "1" * 5000}, 422, ["seed: expected a whole number, got ", "1..."]),
    "negative": (FORM, {"dilate": "-1"}, 422, ["dilate: expected ", 'got "-1"']),
    "no band": (FORM, {"feather": "0"}, 422, ["feather: expected ", 'got "0"']),
    "too wide": (FORM, {"feather": "100000"}, 422, ["feather: expected ", "512, got "]),
    "blend": (FORM, {"blend": "mix"}, 422, ["blend", "poisson", 'got "mix"']),
    "variants": (FORM, {"variants": "1000"}, 422, ["variants"]),
    "model": (FORM, {"model": "tela"}, 404, ["telea"]),
    "path as model": (FORM, {"model": "/etc/passwd"}, 404, []),
    "hub as model": (FORM, {"model": "hf:owner/name"}, 404, []),
    "not a picture": (FORM | {"image": b"GIF89a..."}, {}, 415, ["image", "PNG"]),
    "empty picture": (FORM | {"image": b""}, {}, 415, ["image"]),
    "mask no picture": (FORM | {"mask": b"%PDF-1.4"}, {}, 415, ["mask"]),
    "damaged": (FORM | {"image": PHOTO[:2000]}, {}, 422, ["image", "damaged"]),
    "bomb": (FORM | {"image": png_bomb(20_000, 20_000)}, {}, 413, ["20000 x 20000", "100,000,000"]),
    "mask bomb": (FORM | {"mask": png_bomb(20_000, 20_000)}, {}, 413, ["mask", "20000 x 20000"]),
    "mask size": (FORM | {"mask": png(HOLE[:, :40])}, {}, 422, ["60 x 50", "40 x 50"]),
    "layer size": (
        FORM | {"filled": png(np.zeros((60, 50, 4), np.uint8))},
        {},
        422,
        ["filled: expected a layer of the image's size, 60 x 50, got one of 50 x 60"],
    ),
    "layer without alpha": (
        FORM | {"filled": PHOTO},
        {},
        422,
        ["filled: expected a PNG of 8-bit RGBA, got a PNG of 8-bit RGB"],
    ),
    "layer of 16 bits": (
        FORM | {"filled": png(np.zeros((50, 60, 4), np.uint16))},
        {},
        422,
        ["filled: expected a PNG of 8-bit RGBA, got a PNG of 16-bit RGBA"],
    ),
    "layer no PNG": (
        FORM | {"filled": JPEG},
        {},
        422,
        ["filled: expected a PNG of 8-bit RGBA, got a JPEG of 8-bit RGB"],
    ),
    "layer no picture": (
        FORM | {"filled": b"%PDF-1.4"},
        {},
        415,
        ["filled: expected a PNG", "something else"],
    ),
    "layer empty": (FORM | {"filled": b""}, {}, 415, ["filled: ", "empty"]),
    "layer damaged": (
        FORM | {"filled": rgba(np.zeros((50, 60, 4), np.uint8))[:60]},
        {},
        422,
        ["filled", "damaged"],
    ),
    "layer as text": (FORM, {"filled": "x"}, 422, ["expected a file 'filled' in the form, got text"]),
    "layer bomb": (FORM | {"filled": png_bomb(20_000, 20_000)}, {}, 413, ["filled", "20000 x 20000"]),
    "full mask": (FORM | {"mask": png(np.full_like(HOLE, 255))}, {}, 422, ["60 x 50"]),
}


@pytest.mark.parametrize("case", WRONG_FORMS)
def test_refused_forms(site, case):
    files, fields, status, words = WRONG_FORMS[case]
    refused(site.post(INPAINT, files=files, data=fields), status, *words)


@pytest.mark.parametrize(
    ("body", "kind", "status", "word"),
    [
        (b"{", "application/json", 422, "JSON"),
        (b"[" * 100_000, "application/json", 422, "JSON"),
        (b"[]", "application/json", 422, "expected an object, got a list"),
        (b'{"image": "x"}', "application/json", 422, "mask"),
        (json.dumps(as_json(image="#")).encode(), "application/json", 422, "base64"),
        (
            json.dumps(as_json(filled="#")).encode(),
            "application/json",
            422,
            "filled: expected a picture in base64",
        ),
        (json.dumps(as_json(image=7)).encode(), "application/json", 422, "got 7"),
        (json.dumps(as_json(seed=-1)).encode(), "application/json", 422, "got -1"),
        (json.dumps(as_json(seed=10**99)).encode(), "application/json", 422, "too many digits"),
        (
            json.dumps(as_json(seed=True)).encode(),
            "application/json",
            422,
            "seed: expected a whole number, got true",
        ),
        (json.dumps(as_json(sd_sed=1)).encode(), "application/json", 422, "sd_sed"),
        (b"x", "text/plain", 415, "application/json"),
        (b"x", None, 415, "none"),
        (b"x", "multipart/form-data", 422, "boundary"),
        (b"x", "multipart/form-data; boundary=y", 422, "form"),
        (
            b'--y\r\nContent-Disposition: form-data; name="image"\r\n\r\nabc',
            "multipart/form-data; boundary=y",
            422,
            "",
        ),
    ],
)
def test_refused_bodies(site, body, kind, status, word):
    refused(site.post(INPAINT, data=body, headers={"Content-Type": kind} if kind else {}), status, word)


def test_what_would_be_left_out_of_account_is_refused(site):
    """Fields in the address, and bodies that would have to be unpacked first."""
    refused(site.post(f"{INPAINT}?seed=5", files=FORM), 422, "'seed' in the address")
    packed = gzip.compress(json.dumps(as_json()).encode())
    kind = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = site.post(INPAINT, data=packed, headers=kind)
    refused(answer, 415, "without Content-Encoding", "gzip")
    assert answer.headers["accept-encoding"] == "identity"
    kind["Content-Encoding"] = "identity"
    assert site.post(INPAINT, json=as_json(), headers=kind).status_code == 200


def test_addresses_and_methods(site):
    refused(site.get("/nothing"), 404)
    answer = site.get(INPAINT)
    refused(answer, 405)
    assert answer.headers["allow"] == "POST"
    for path in ("/docs", "/redoc", "/api/v1/models/"):
        refused(site.get(path, allow_redirects=False), 404)
    assert site.head(INPAINT).status_code == 405


def raw(site: Site, request: str) -> tuple[int, bytes]:
    """The status and body of an answer to what no client would send."""
    with socket.create_connection(site.address, 30) as connection:
        connection.sendall(request.encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read()


def test_a_whole_address_is_its_path_at_its_host(site):
    for target, status in {
        "http://localhost/healthz": 200,
        "HTTP://127.0.0.1:8080/api/v1/photos/a%20b?c=d": 404,
        "http://localhost": 200,
        "http://evil.example/healthz": 421,
        "http:///healthz": 421,
    }.items():
        got, body = raw(site, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert got == status, target
        if "photos" in target:
            assert "--input" in checked(json.loads(body))["detail"]  # by the route of a photograph


def test_what_is_no_request_is_told_as_everything_else(site):
    status, body = raw(site, "GET / of something\r\n\r\n")
    assert (status, checked(json.loads(body))["error"]) == (400, "malformed")


def test_a_body_is_counted_as_it_streams():
    settings = Settings(model="telea", max_mebibytes=1)
    with serving(settings) as site:
        big = b"x" * (3 << 20)
        refused(site.post(INPAINT, data=big, headers={"Content-Type": "application/json"}), 413, "1,048,576")
        sent = 0

        def chunks():
            nonlocal sent
            for _ in range(2000):
                sent += 1 << 16
                yield b"x" * (1 << 16)

        try:
            answer = site.post(INPAINT, data=chunks(), headers={"Content-Type": "application/json"})
            refused(answer, 413)
        except OSError:  # the server closed the connection while we were still sending
            pass
        assert sent < 100 << 20
        until(lambda: idle(site))
        assert site.post(INPAINT, files=FORM).status_code == 200


def test_pixels_are_counted_before_decoding():
    with serving(Settings(model="telea", max_megapixels=0.001)) as site:
        refused(site.post(INPAINT, files=FORM), 413, "1,000 pixels", "60 x 50")


STATUSES = {  # clients rely on them, and on the codes
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "no_address no_model no_folder no_photo",
    405: "wrong_method",
    408: "too_slow",
    409: "exists",
    413: "too_many_bytes too_many_pixels",
    415: "wrong_body wrong_format",
    421: "unknown_host",
    422: "wrong_field wrong_picture wrong_mask wrong_name damaged nothing_known",
    429: "busy",
    500: "failed model_failed not_stored",
    503: "not_installed overloaded stopping too_long",
    507: "disk_full",
}


def plain_problems(site: Site, bare: Site) -> Iterator[tuple[str, Any]]:
    """Codes, and requests that are answered with them; the bare server has no folders."""

    def asked(**files: bytes) -> Any:
        return site.post(INPAINT, files=FORM | files)

    grey, store = "image/png", "/api/v1/outputs/"
    yield "malformed", raw(site, "GET / of something\r\n\r\n")
    yield "forbidden", site.post(INPAINT, headers={"Origin": "https://evil.example"})
    yield "no_address", site.get("/nothing")
    yield "no_model", site.post("/api/v1/model", json={"name": "nobody"})
    yield "no_folder", bare.get("/api/v1/photos/a.png")
    yield "no_folder", bare.put(f"{store}a.png", data=PHOTO)
    yield "no_photo", site.get("/api/v1/photos/b.png")
    yield "wrong_method", site.get(INPAINT)
    yield "too_many_bytes", site.post("/api/v1/model", json={"name": "x" * (1 << 20)})
    yield "too_many_pixels", asked(image=png_bomb(20_000, 20_000))
    yield "wrong_body", site.post(INPAINT, data=b"x", headers={"Content-Type": grey})
    yield "wrong_format", asked(image=b"GIF89a...")
    yield "wrong_format", site.put(f"{store}a.jpg", data=PHOTO)
    yield "unknown_host", site.get("/", headers={"Host": "evil.example"})
    yield "wrong_field", site.post(INPAINT, files=FORM, data={"sedd": "1"})
    yield "wrong_picture", asked(filled=PHOTO)
    yield "wrong_mask", asked(mask=png(HOLE[:, :40]))
    yield "wrong_name", site.put(f"{store}a.exe", data=PHOTO)
    yield "damaged", asked(image=PHOTO[:2000])
    yield "damaged", site.post(INPAINT, data=b"{", headers={"Content-Type": "application/json"})
    yield "nothing_known", asked(mask=png(np.full_like(HOLE, 255)))
    assert site.put(f"{store}a.png", data=PHOTO).status_code == 201
    yield "exists", site.put(f"{store}a.png", data=PHOTO)


def rare_problems(site: Site, patch: pytest.MonkeyPatch) -> Iterator[tuple[str, Any]]:
    """Codes of what goes wrong in the server itself."""

    def failing(error: Exception) -> Callable[..., Any]:
        def fail(*_: Any, **__: Any) -> Any:
            raise error

        return fail

    def stored() -> Any:
        return site.put("/api/v1/outputs/b.png", data=PHOTO)

    def asked() -> Any:
        return site.post(INPAINT, files=FORM)

    context = site.context
    for code, error in {
        "failed": KeyError("a bug"),
        "model_failed": ModelError("no such node"),
        "not_installed": MissingExtraError("this model", "train"),
        "overloaded": MemoryError(),
    }.items():
        with patch.context() as its:
            its.setattr(context.models, "get", failing(error))
            yield code, asked()
    for code, number in {"not_stored": errno.EACCES, "disk_full": errno.ENOSPC}.items():
        with patch.context() as its:
            its.setattr("retouch.writing.atomic_write", failing(OSError(number, "")))
            yield code, stored()
    with patch.context() as its:
        its.setattr("retouch.server.job_queue.threading.Thread", failing(RuntimeError()))
        yield "overloaded", asked()
    with patch.context() as its:
        its.setattr(context.queue, "seconds", 1e-9)
        yield "too_long", asked()
    with patch.context() as its:
        its.setattr(context.queue, "closing", True)
        yield "stopping", asked()
    until(lambda: idle(site))  # the job whose time was up may still run, and would then free a worker
    with patch.context() as its:
        its.setattr(context.queue, "running", context.queue.workers)
        its.setattr(context.queue, "places", 0)
        yield "busy", asked()


def test_every_problem_has_its_code(tmp_path, monkeypatch, site):
    """Programs go by the codes, and no kind of problem is without one."""
    assert {code: status for code, (status, _) in CODES.items()} == {
        code: status for status, codes in STATUSES.items() for code in codes.split()
    }
    with serving(Settings(model="telea", input=tmp_path, output=tmp_path), predictor=Slow()) as own:
        problems = [*plain_problems(own, site), *rare_problems(own, monkeypatch)]
    with serving(token="of the server") as own:
        problems.append(("unauthorized", own.get("/api/v1/models")))
    with serving(Settings(model="telea", body_seconds=0.01)) as own:
        head = f"POST {INPAINT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
        problems.append(("too_slow", raw(own, head)))
    for code, answer in problems:
        status, body = answer if isinstance(answer, tuple) else (answer.status_code, answer.content)
        problem = checked(json.loads(body))
        assert (problem["error"], status) == (code, CODES[code][0]), problem
    assert {code for code, _ in problems} == set(CODES)


def test_the_page_has_words_for_problems_that_there_are():
    page = (importlib.resources.files("retouch") / "page" / "index.html").read_text(encoding="utf-8")
    worded = set(re.findall(r'data-text="problem-(\w+)"', page))
    assert worded and worded < set(CODES)


# ---- the queue --------------------------------------------------------------------------------------------


def test_sixteen_clients_get_what_each_would_get_alone(tiny_model, smooth_pixels):
    rng = np.random.default_rng(5)
    asked = []
    for number in range(16):
        height, width = int(rng.integers(20, 200)), int(rng.integers(20, 200))
        hole = np.zeros((height, width), np.uint8)
        hole[height // 4 : height // 2, width // 4 : width // 2] = 255
        photo = np.roll(smooth_pixels(height, width), number, axis=2)
        asked.append({"image": png(photo), "mask": png(hole)})
    with serving(Settings(model=str(tiny_model), workers=4)) as site:
        serial = [site.post(INPAINT, files=files).content for files in asked]
        with ThreadPoolExecutor(16) as clients:
            together = list(clients.map(lambda files: site.post(INPAINT, files=files).content, asked))
        assert together == serial
        assert len(set(serial)) == 16
        until(lambda: idle(site))


class Sharing(Gated):
    """A Gated model that says that windows may share a pass, and notes how many did."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def together(self, height: int, width: int) -> int:
        return 4

    def on(self, threads: int) -> "Sharing":
        return self

    def __call__(self, image: np.ndarray, hole: np.ndarray, *, seed: int) -> np.ndarray:
        self.sizes.append(len(image))
        return super().__call__(image, hole, seed=seed) * image.mean((1, 2, 3), keepdims=True)


def test_photographs_that_wait_share_a_pass():
    """Each gets its own answer, also where one that shares the pass is given up meanwhile."""
    files = [FORM | {"image": png(np.full((50, 60, 3), 40 * number, np.uint8))} for number in range(1, 5)]
    sharing = Sharing()
    ours = Shared(sharing, 1)
    with (
        serving(Settings(model="telea", workers=5), predictor=ours) as site,
        ThreadPoolExecutor(4) as clients,
    ):

        def asked(number: int) -> bytes:
            answer = site.post(INPAINT, files=files[number])
            assert answer.status_code == 200
            return answer.content

        together = [clients.submit(asked, 0)]
        until(lambda: sharing.calls == 1)
        with open_connection(site, large(), "*/*"):
            until(lambda: len(ours._waiting) == 1)
        until(lambda: any(stop.is_set() for stop, _ in site.context.queue._jobs.values()))
        for number in (1, 2, 3):
            together.append(clients.submit(asked, number))
            until(lambda number=number: len(ours._waiting) == 1 + number)
        sharing.gate.set()
        answers = [one.result() for one in together]
        until(lambda: idle(site))
        assert sharing.sizes == [1, 4]  # the first, all that waited, nothing more of what was given up
        assert answers == [asked(number) for number in range(4)]
        assert len(set(answers)) == 4


def test_a_full_queue_says_when_to_come_back():
    gated, settings = Gated(), Settings(model="telea", workers=1, waiting=1)
    with serving(settings, predictor=gated) as site, ThreadPoolExecutor(2) as clients:
        first = clients.submit(site.post, INPAINT, files=FORM)
        until(lambda: site.context.queue.running == 1)
        second = clients.submit(site.post, INPAINT, files=FORM)
        until(lambda: len(site.context.queue.waiting) == 1)
        answer = site.post(INPAINT, files=FORM)
        refused(answer, 429, "waiting")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        events = site.post(INPAINT, files=FORM, headers={"Accept": "text/event-stream"})
        refused(events, 429)
        queue = site.context.queue  # what runs is larger than all before it: half a minute already
        queue._jobs = {done: (stop, began - 30) for done, (stop, began) in queue._jobs.items()}
        assert 30 <= int(site.post(INPAINT, files=FORM).headers["retry-after"]) <= 32
        gated.gate.set()
        assert first.result().status_code == second.result().status_code == 200
        assert site.post(INPAINT, files=FORM).status_code == 200


def test_time_is_limited():
    gated = Gated()
    with serving(Settings(model="telea", seconds=3), predictor=gated) as site:
        refused(site.post(INPAINT, files=large()), 503, "3 s")
        assert site.context.queue.running == 1  # until the window at hand is done
        gated.gate.set()
        until(lambda: idle(site))
        assert gated.calls == 1


def test_a_large_mask_holds_up_no_other_request(monkeypatch):
    gate, reading = threading.Event(), threading.Event()

    def held(*arguments: Any) -> Any:
        reading.set()
        assert gate.wait(5)
        return from_json(*arguments)

    monkeypatch.setattr("retouch.server.inpaint.from_json", held)
    fields = {"mask": base64.b64encode(MASK).decode(), "operate": "reverse"}
    with serving() as site, ThreadPoolExecutor(1) as clients:
        asked = clients.submit(site.post, "/api/v1/adjust_mask", json=fields)
        assert reading.wait(60)
        assert site.get("/healthz").status_code == 200
        gate.set()
        assert asked.result().status_code == 200


def events(answer: Any) -> list[tuple[str, Any]]:
    blocks = [block.split("\n") for block in answer.text.split("\n\n") if block]
    return [(event[7:], json.loads(data[6:])) for event, data in blocks]


def test_progress_is_told():
    with serving(predictor=Slow()) as site:
        files = large()
        answer = site.post(INPAINT, files=files, headers={"Accept": "text/event-stream"})
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = events(answer)
        steps = [data for name, data in told if name == "progress"]
        total = steps[-1]["total"]
        assert total > 4 and steps[-1] == {"done": total, "total": total}
        assert [step["done"] for step in steps] == sorted(step["done"] for step in steps)
        name, result = told[-1]
        assert name == "result"
        plain = site.post(INPAINT, files=files).content
        assert base64.b64decode(result["images"][0].partition(",")[2]) == plain
        wrong = site.post(INPAINT, files=FORM | {"image": b"no"}, headers={"Accept": "text/event-stream"})
        name, problem = events(wrong)[-1]
        assert (name, problem["status"], problem["error"]) == ("error", 415, "wrong_format")
        until(lambda: idle(site))


@pytest.mark.parametrize("accept", ["text/event-stream", "*/*"])
def test_closing_the_connection_cancels_the_work(accept):
    gated = Gated()
    with serving(predictor=gated) as site:
        with open_connection(site, large(), accept):
            until(lambda: gated.calls == 1)
        until(lambda: unwanted(site))
        gated.gate.set()
        until(lambda: idle(site))
        assert gated.calls == 1
        assert site.post(INPAINT, files=FORM).status_code == 200


@pytest.mark.parametrize("accept", ["text/event-stream", "*/*"])
def test_closing_the_connection_ends_a_long_window(accept):
    watched = Watched()
    with serving(predictor=watched) as site:
        with open_connection(site, FORM, accept) as connection:
            until(lambda: watched.calls == 1)
            if accept == "text/event-stream":
                received = b""
                while b'"done": 0.5, "total": 1}' not in received:
                    received += connection.recv(1000)
        until(lambda: unwanted(site))
        watched.gate.set()
        until(lambda: idle(site))
        assert watched.free == 0
        assert site.post(INPAINT, files=FORM).status_code == 200
        assert watched.free == 1


def open_connection(site: Site, files: dict[str, bytes], accept: str) -> socket.socket:
    """Sends a request and leaves its answer unread."""
    body = b""
    for name, data in files.items():
        disposition = f'Content-Disposition: form-data; name="{name}"; filename="{name}.png"'
        body += f"--y\r\n{disposition}\r\n\r\n".encode() + data + b"\r\n"
    body += b"--y--\r\n"
    head = (
        f"POST {INPAINT} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=y\r\n\r\n"
    )
    connection = socket.create_connection(site.address)
    connection.sendall(head.encode() + body)
    return connection


# ---- security ---------------------------------------------------------------------------------------------


def connected(site: Site, stack: contextlib.ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(site.address, 30))


def test_connections_that_ask_nothing_are_closed(monkeypatch):
    """Each holds a socket, of which a process has few."""
    monkeypatch.setattr(connections, "SECONDS", 0.5)
    with serving() as site, contextlib.ExitStack() as stack:
        silent, half = (connected(site, stack) for _ in range(2))
        half.sendall(b"GET /healthz HT")
        for connection in (silent, half):
            assert connection.recv(1) == b""
        assert site.get("/healthz").status_code == 200


def test_no_more_connections_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(connections, "MOST", 4)
    with serving() as site, contextlib.ExitStack() as stack:
        first, *others = (connected(site, stack) for _ in range(4))
        for connection in (first, *others):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
        one_too_many = connected(site, stack)
        with contextlib.suppress(ConnectionResetError):
            assert one_too_many.recv(1) == b""
        first.close()
        until(lambda: answers(site))  # there is room again


def answers(site: Site) -> bool:
    try:
        return site.get("/healthz").status_code == 200
    except OSError:
        return False


def test_connections_that_take_nothing_are_closed(monkeypatch):
    """Those that take an answer slowly get all of it."""
    monkeypatch.setattr(connections, "STUCK", 1.0)
    ask, times = b"GET /examples/astronaut.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n", 20
    with serving() as site, contextlib.ExitStack() as stack:
        wanted = times * len(site.get("/examples/astronaut.jpg").content)

        def asking():
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            connection.settimeout(30)
            connection.connect(site.address)
            connection.sendall(times * ask)
            return connection

        stuck, slow, got = asking(), asking(), 0
        while got < wanted:
            time.sleep(0.01)
            got += len(slow.recv(1 << 16))
        time.sleep(2.5)
        got = 0
        with contextlib.suppress(ConnectionResetError):
            while some := stuck.recv(1 << 16):
                got += len(some)
        assert got < wanted
        assert site.get("/healthz").status_code == 200


def test_a_token_is_wanted():
    with serving(token="a-long-secret") as site:
        right = {"Authorization": "Bearer a-long-secret"}
        for path in ("/api/v1/models", "/metrics", "/api/v1/photos"):
            for headers in ({}, {"Authorization": "Bearer a-long-secreT"}, {"Authorization": "Basic eDp5"}):
                answer = site.get(path, headers=headers)
                refused(answer, 401, "Bearer")
                assert answer.headers["www-authenticate"].startswith("Bearer")
            assert site.get(path, headers=right).status_code == 200
        refused(site.post(INPAINT, files=FORM), 401)
        assert site.post(INPAINT, files=FORM, headers=right).status_code == 200
        assert site.get("/").status_code == site.get("/healthz").status_code == 200  # nothing secret there


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200),
        ("127.0.0.1", 200),
        ("[::1]:9", 200),
        ("192.168.7.7", 200),
        ("photos.example", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("[", 421),
        ("", 421),
    ],
)
def test_the_host_has_to_be_known(host, status):
    with serving(hosts=["Photos.example"]) as site:
        answer = site.get("/api/v1/model", headers={"Host": host})
        assert answer.status_code == status or (host == "[" and answer.status_code == 400)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
def test_other_sites_are_refused(site, headers):
    refused(site.post(INPAINT, files=FORM, headers=headers), 403)
    answer = site.options(INPAINT, headers=headers | {"Access-Control-Request-Method": "POST"})
    assert answer.status_code in (403, 405)
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert site.post(INPAINT, files=FORM, headers={"Origin": site.url}).status_code == 200


def test_every_answer_has_security_headers(site):
    for answer in (
        site.get("/"),
        site.get("/nothing"),
        site.get("/api/v1/models"),
        site.post(INPAINT, files=FORM),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
    page = site.get("/")
    assert "cache-control" in page.headers
    again = site.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/", "/app.js", "/healthz", "/readyz", "/api/v1/models", "/openapi.json"])
def test_heads_are_answered(site, path):
    head, whole = site.head(path), site.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]


def test_the_page_is_whole(site):
    """All that the page names is there, and none of it is inline or from elsewhere."""
    import re

    page = site.get("/").text
    assert not re.search(r"<script(?![^>]*src)|<style|\bstyle=|\bon\w+=|https?://", page)
    named = {name for name in re.findall(r'(?:src|href)="([^"#]+)"', page)}
    scripts = {"app.js"}
    for _ in range(3):
        for script in list(scripts):
            scripts |= set(re.findall(r'from "\./([\w.]+)"', site.get("/" + script).text))
    for name in named | scripts:
        answer = site.get("/" + name)
        assert answer.status_code == 200, name
        assert "http" not in answer.text.replace("http://www.w3.org/2000/svg", "") or not name.endswith(".js")
    kinds = {
        name: site.get("/" + name).headers["content-type"] for name in ("app.js", "style.css", "icon.svg")
    }
    assert kinds["app.js"].startswith("text/javascript")
    assert kinds["style.css"].startswith("text/css")
    assert kinds["icon.svg"].startswith("image/svg+xml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "--token"),
        (["--token", "short"], "at least 8"),
        (["--token", "long-enough "], "no space around"),  # which clients' headers would lose
        (["--token", "long-enough-1", "--token-file", "x"], "both"),
        (["--token-file", sys.executable], "binary"),
        (["--max-megapixels", "inf"], "finite"),
        (["--max-megapixels", "1e-7"], "allow a pixel"),
        (["--model", "tela"], "telea"),
        (["--workers", "0"], "workers"),
        (["--input", "/nowhere/at/all"], "input"),
        (["--port", "70000"], "65535"),
        (["--host", "no.such.host.invalid"], "no.such.host.invalid"),
        (["--allow-host", "box:8080"], "box:8080"),  # no Host would ever be that
        (["--allow-host", "http://box/"], "a name alone"),
        (["--allow-host", "bücher.example"], "a name alone"),  # browsers send xn--bcher-kva.example
    ],
)
def test_servers_that_cannot_be(arguments, words, capsys):
    assert (
        main(["serve", "--port", "0", *arguments] if "--port" not in arguments else ["serve", *arguments])
        == 2
    )
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_a_token_in_a_file_and_a_name_of_the_server(tmp_path):
    (tmp_path / "token").write_text("a-long-secret\n", encoding="utf-8-sig")  # as Notepad may
    options = ("--port", "0", "--token-file", str(tmp_path / "token"), "--allow-host", "box.example")
    with process(*options) as (_, site):
        right = {"Authorization": "Bearer a-long-secret"}
        refused(site.get("/api/v1/models"), 401)
        for host, status in {"localhost": 200, "box.example": 200, "other.example": 421}.items():
            assert site.get("/api/v1/models", headers=right | {"Host": host}).status_code == status


@pytest.fixture
def unserved(monkeypatch):
    """`retouch serve` ends where it would begin to answer."""

    def closed(_: Any, sockets: list[socket.socket]) -> None:
        for one in sockets:
            one.close()

    monkeypatch.setattr("uvicorn.Server.run", closed)


def test_other_machines_are_let_in_without_a_token_where_that_is_said(unserved, capsys):
    options = ["serve", "--model", "telea", "--port", "0", "--host", "0.0.0.0"]
    assert main(options) == 2 and main([*options, "--insecure"]) == 0
    assert "http://0.0.0.0:" in capsys.readouterr().out


def test_the_address_carries_any_token(unserved, capsys):
    assert main(["serve", "--model", "telea", "--port", "0", "--token", "50%+more&#more"]) == 0
    said = capsys.readouterr()
    assert parse_qs((said.out + said.err).split()[3].partition("#")[2]) == {"token": ["50%+more&#more"]}


# ---- folders ----------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path):
    inside, outside, output = tmp_path / "in", tmp_path / "secret", tmp_path / "out"
    for folder in (inside, outside, output):
        folder.mkdir()
    (inside / "a b.png").write_bytes(PHOTO)
    (inside / "ünïcode.PNG").write_bytes(PHOTO)
    (inside / "notes.txt").write_text("x")
    (inside / ".hidden.png").write_bytes(PHOTO)
    (inside / "folder.png").mkdir()
    (outside / "secret.png").write_bytes(MASK)
    (inside / "link.png").symlink_to(outside / "secret.png")
    return inside, outside, output


def test_photos_are_opened_by_listed_names_only(folders):
    inside, outside, output = folders
    with serving(Settings(model="telea", input=inside, output=output)) as site:
        assert site.get("/api/v1/photos").json() == ["a b.png", "ünïcode.PNG"]
        assert site.get("/api/v1/photos/a%20b.png").content == PHOTO
        assert site.get("/api/v1/photos/" + quote("ünïcode.PNG")).content == PHOTO
        tricks = [
            "link.png",
            "notes.txt",
            ".hidden.png",
            "folder.png",
            "..%2Fsecret%2Fsecret.png",
            "%2e%2e%2fsecret%2fsecret.png",
            "..%5Csecret%5Csecret.png",
            "%252e%252e%252fsecret.png",
            "..%c0%afsecret%c0%afsecret.png",
            quote(str(outside / "secret.png"), safe=""),
            "a%20b.png%00",
            "a%20b.png/",
            "file:%2F%2F" + quote(str(outside / "secret.png"), safe=""),
            "ü" * 300,
        ]
        for trick in tricks:
            with socket.create_connection(site.address) as connection:  # as it stands: no client tidies it up
                line = f"GET /api/v1/photos/{quote(trick, safe='%/')} HTTP/1.1\r\nHost: localhost\r\n"
                connection.sendall((line + "Connection: close\r\n\r\n").encode())
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
            status = int(answer.split()[1])
            assert status == 404, (trick, answer)
            assert MASK not in answer
    with serving() as site:
        assert site.get("/api/v1/photos").json() == []
        refused(site.get("/api/v1/photos/a%20b.png"), 404, "--input")
        refused(site.put("/api/v1/outputs/a.png", data=PHOTO), 404, "--output")


def test_files_are_called_what_they_are(tmp_path):
    """A JPEG that is named .png, and what is no picture at all."""
    for name, data in {"a.png": JPEG, "b.jpg": PHOTO, "c.png": b"no", "d.bmp": b""}.items():
        (tmp_path / name).write_bytes(data)
    kinds = {"a.png": "image/jpeg", "b.jpg": "image/png"}
    with serving(Settings(model="telea", input=tmp_path)) as site:
        for name in site.get("/api/v1/photos").json():
            answer = site.get(f"/api/v1/photos/{name}")
            assert answer.content == (tmp_path / name).read_bytes()
            assert answer.headers["content-type"] == kinds.get(name, "application/octet-stream")
        wrong = {"image": ("photo.png", JPEG, "image/png"), "mask": ("mask.jpg", MASK, "image/jpeg")}
        answer = site.post(INPAINT, files=wrong)
        assert answer.headers["content-type"] == "image/jpeg" and answer.content[:3] == JPEG[:3]


def test_thumbnails_are_small_upright_and_of_listed_photos_alone(folders):
    inside, _, output = folders
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (900, 300), "red").save(inside / "turned.jpg", exif=turned)
    Image.fromarray(np.full((40, 30), 40_000, np.uint16)).save(inside / "grey.tif")
    Image.new("RGBA", (600, 600), (0, 0, 0, 0)).save(inside / "clear.png")
    (inside / "broken.png").write_bytes(PHOTO[:200])
    found = {}
    with serving(Settings(model="telea", input=inside, output=output)) as site:
        for name in ("turned.jpg", "grey.tif", "clear.png"):
            answer = site.get(f"/api/v1/photos/{name}/thumbnail")
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
            with Image.open(io.BytesIO(answer.content)) as picture:
                found[name] = picture.size, np.array(picture.convert("RGB")).mean(axis=(0, 1)).round()
        refused(site.get("/api/v1/photos/broken.png/thumbnail"), 422)
        refused(site.get("/api/v1/photos/link.png/thumbnail"), 404)
        refused(site.get("/api/v1/photos/..%2Fsecret%2Fsecret.png/thumbnail"), 404)
    assert [size for size, _ in found.values()] == [(85, 256), (30, 40), (256, 256)]
    for name, colour in (("turned.jpg", (254, 0, 0)), ("grey.tif", (156,) * 3), ("clear.png", (255,) * 3)):
        assert np.allclose(found[name][1], colour, atol=2)
    with serving() as site:
        refused(site.get("/api/v1/photos/a.png/thumbnail"), 404, "--input")


def test_a_name_that_is_no_text_hides_no_other(folders):
    inside, _, _ = folders
    try:
        (inside / os.fsdecode(b"caf\xe9.png")).write_bytes(PHOTO)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    with serving(Settings(model="telea", input=inside)) as site:
        assert site.get("/api/v1/photos").json() == ["a b.png", "ünïcode.PNG"]
        refused(site.get("/api/v1/photos/caf%E9.png"), 404)


def test_a_folder_that_goes_is_said(folders):
    inside, _, _ = folders
    with serving(Settings(model="telea", input=inside)) as site:
        inside.rename(inside.with_name("moved"))
        refused(site.get("/api/v1/photos"), 404, "input folder")
        refused(site.get("/api/v1/photos/a%20b.png"), 404, "input folder")


def test_results_are_stored_under_new_plain_names(folders, monkeypatch):
    inside, outside, output = folders
    with serving(Settings(model="telea", input=inside, output=output)) as site:

        def store(name: str, data: bytes = PHOTO) -> Any:
            return site.put(f"/api/v1/outputs/{name}", data=data)

        assert store("new.png").status_code == 201
        assert (output / "new.png").read_bytes() == PHOTO
        refused(store("new.png", MASK), 409)
        assert (output / "new.png").read_bytes() == PHOTO
        (output / "link.png").symlink_to(outside / "planted.png")
        refused(store("link.png"), 409)
        for name in (
            "..%5Cx.png",
            ".hidden.png",
            "a:b.png",
            "x%00.png",
            "x.exe",
            "x",
            "x.png%20",
            "y" * 250 + ".png",
        ):
            assert store(name).status_code in (404, 422), name
        for name in ("..%2Fx.png", "%2Fetc%2Fx.png", "%252e%252e%252fx.png"):
            assert store(name).status_code in (201, 404, 405, 422), name
        refused(store("x.jpg"), 415, "JPEG", "PNG")
        refused(store("junk.png", b"junk"), 415)
        monkeypatch.setattr("retouch.writing.atomic_write", full_disk)
        refused(store("full.png"), 507, "full")
        assert site.get("/healthz").status_code == 200
    assert sorted(path.name for path in outside.iterdir()) == ["secret.png"]
    assert not list(output.parent.glob("x.png")) and not list(output.glob(".retouch*"))


def test_what_was_not_stored_in_time_is_not_stored_later(tmp_path, monkeypatch):
    """Whoever was told so stores it again, perhaps under another name."""
    gate, read = threading.Event(), images.read

    def held(*arguments: Any, **options: Any) -> images.Photo:
        assert gate.wait(60)
        return read(*arguments, **options)

    monkeypatch.setattr("retouch.image.read", held)
    with serving(Settings(model="telea", output=tmp_path, seconds=3)) as site:
        refused(site.put("/api/v1/outputs/new.png", data=PHOTO), 503, "3 s")
        gate.set()
        until(lambda: idle(site))
        assert not list(tmp_path.iterdir())
        assert site.put("/api/v1/outputs/new.png", data=PHOTO).status_code == 201


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


# ---- state and ends ---------------------------------------------------------------------------------------


def test_state(site, tmp_path):
    assert site.get("/healthz").json() == {"status": "alive", "model": "telea"}
    assert site.get("/readyz").json()["status"] == "ready"
    site.post(INPAINT, files=FORM)
    refused(site.get("/nothing/" + "x" * 50), 404)
    metrics = site.get("/metrics").text
    assert 'retouch_requests_total{route="/api/v1/inpaint",status="200"}' in metrics
    assert "retouch_request_seconds_bucket" in metrics and "retouch_queue 0.0" in metrics
    assert "retouch_pixels_total" in metrics and "xxxx" not in metrics
    with pytest.raises(ModelError):
        create_app(Settings(model=str(tmp_path / "gone.onnx")))


def test_a_model_file_that_is_replaced_changes_nothing(tiny_model):
    with serving(Settings(model=str(tiny_model))) as site:
        before = site.post(INPAINT, files=FORM).content
        tiny_model.write_bytes(b"something else")
        assert site.post(INPAINT, files=FORM).content == before


def test_sigterm_finishes_what_runs_and_refuses_what_comes(tmp_path):
    with process("--port", "0", "--workers", "1", gate=tmp_path / "gate") as (server, site):
        with ThreadPoolExecutor(2) as clients:
            running = clients.submit(site.post, INPAINT, files=FORM)
            until(lambda: "retouch_running 1.0" in site.get("/metrics").text)
            waiting = clients.submit(site.post, INPAINT, files=FORM)
            until(lambda: "retouch_queue 1.0" in site.get("/metrics").text)
            server.terminate()
            refused(waiting.result(), 503, "shutting down")
            with pytest.raises(OSError):
                site.get("/healthz")
            (tmp_path / "gate").touch()
            assert running.result().status_code == 200
            assert server.wait(10) in (0, -15)
        assert server.stderr.read() == ""


def test_sigterm_ends_within_ten_seconds_whatever_runs():
    with process("--port", "0", seconds=120) as (server, site), ThreadPoolExecutor(1) as clients:
        running = clients.submit(site.post, INPAINT, files=FORM)
        until(lambda: "retouch_running 1.0" in site.get("/metrics").text)
        started = time.monotonic()
        server.terminate()
        assert server.wait(10) in (0, -15)
        assert time.monotonic() - started < 10
        refused(running.result(), 503, "shutting down")
        assert server.stderr.read() == ""


def test_killed_and_started_again():
    with process("--port", "0") as (server, site):
        assert site.post(INPAINT, files=FORM).status_code == 200
        port = str(site.address[1])
        server.kill()
        server.wait()
        with process("--port", port) as (_, again):
            assert again.post(INPAINT, files=FORM).status_code == 200


def test_serving_is_not_imported_before_it_is_asked_for():
    code = (
        "import sys, retouch.cli; retouch.cli.main(['serve', '--help']); assert 'fastapi' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--token" in done.stdout
    missing = (
        "import sys; sys.modules['fastapi'] = None; from retouch.cli import main; sys.exit(main(['serve']))"
    )
    done = subprocess.run([sys.executable, "-c", missing], capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        done.stderr
        == "retouch: serving needs the extra 'serve': pip install '.[serve]' in Retouch's folder\n"
    )


# ---- faults -----------------------------------------------------------------------------------------------


def test_clients_that_leave_or_dawdle():
    with serving(Settings(model="telea", body_seconds=0.5)) as site:
        head = f"POST {INPAINT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\nContent-Type: application/json"
        for _ in range(5):  # gone in the middle of the upload
            with socket.create_connection(site.address) as connection:
                connection.sendall(head.encode() + b"\r\n\r\n" + b"x" * 5000)
        with socket.create_connection(site.address) as connection:  # half a body, and then nothing
            connection.sendall(head.encode() + b"\r\n\r\n" + b"x" * 5000)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))  # until it is closed
        assert answer.startswith(b"HTTP/1.1 408") and b"too_slow" in answer
        until(lambda: idle(site))
        assert site.post(INPAINT, files=FORM).status_code == 200


def test_a_slow_upload_that_goes_on_is_waited_for():
    """Longer than the limit, but faster than the slowest that is served."""
    with (
        serving(Settings(model="telea", body_seconds=0.5)) as site,
        socket.create_connection(site.address) as slow,
    ):
        slow.sendall(
            f"POST {INPAINT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 96000\r\n"
            "Content-Type: application/json\r\nConnection: close\r\n\r\n".encode()
        )
        for _ in range(12):
            slow.sendall(b" " * 8000)
            time.sleep(0.1)
        answer = b"".join(iter(lambda: slow.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 422")  # spaces are no JSON, but all of them came


def requests_body() -> dict[str, bytes]:
    small = {"image": png(np.full((6, 5, 3), 90, np.uint8)), "mask": png(np.eye(6, 5, dtype=np.uint8) * 255)}
    form = b""
    for name, data in small.items():
        form += (
            f'--y\r\nContent-Disposition: form-data; name="{name}"; filename="n"\r\n\r\n'.encode()
            + data
            + b"\r\n"
        )
    text = {name: base64.b64encode(data).decode() for name, data in small.items()}
    return {
        "application/json": json.dumps(text | {"seed": 3}).encode(),
        "multipart/form-data; boundary=y": form + b"--y--\r\n",
    }


def junk(whole: dict[str, bytes]) -> st.SearchStrategy[tuple[str, bytes]]:
    """Bodies with their kind: bytes of no kind, and good requests cut off with some of their bytes changed."""

    def damaged(kind: str) -> st.SearchStrategy[tuple[str, bytes]]:
        good = whole[kind]
        places = st.integers(0, len(good) - 1)
        return st.builds(
            lambda changes, end: (
                kind,
                bytes(changes.get(i, byte) for i, byte in enumerate(good))[: end + 1],
            ),
            st.dictionaries(places, st.integers(0, 255), max_size=6),
            places,
        )

    return st.sampled_from(list(whole)).flatmap(
        lambda kind: st.one_of(st.tuples(st.just(kind), st.binary(max_size=300)), damaged(kind))
    )


JUNK = 40  # bodies in an example


@settings(max_examples=75, deadline=None, suppress_health_check=list(HealthCheck))
@given(bodies=st.lists(junk(requests_body()), min_size=JUNK, max_size=JUNK))
def test_junk_is_refused(site, connection, bodies):
    """Three thousand bodies: each gets an answer of ours, and never a 500."""
    for kind, body in bodies:
        connection.request("POST", INPAINT, body, {"Content-Type": kind})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status in (200, 404, 413, 415, 422)
        if answer.status != 200:
            checked(json.loads(text))


@pytest.fixture(scope="module")
def connection(site):
    with contextlib.closing(http.client.HTTPConnection(*site.address)) as connection:
        yield connection
