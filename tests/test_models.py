"""Cards, weight files, ONNX Runtime behind the Predictor contract, and finding a model by its name."""

import concurrent.futures
import copy
import dataclasses
import hashlib
import http.server
import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import LIMITS, tiny_card, tiny_network, write_model
from hypothesis import example, given
from hypothesis import strategies as st

from retouch import sessions
from retouch.cards import DEFAULT, Card, cards, parse_card, weights_size
from retouch.classical import CLASSICAL
from retouch.errors import MissingExtraError, ModelError
from retouch.models import OnnxPredictor, load

MODELS = sys.modules["retouch.models"]  # the attribute retouch.models is the function of the public API


def batch(count: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    hole = (rng.random((count, 1, height, width)) < 0.3).astype(np.float32)
    return rng.random((count, 3, height, width), np.float32) * (1 - hole), hole


# ---- cards ------------------------------------------------------------------------------------------------


def test_card_survives_json() -> None:
    card = tiny_card(b"weights")
    assert parse_card(card.to_json(), "x.json") == card
    assert parse_card(card.to_json().encode(), "x.json") == card
    # a name on the disk that is not UTF-8, as a run's data may have
    odd = dataclasses.replace(card, training_data="caf\udce9")
    assert parse_card(odd.to_json().encode(), "x.json") == odd


def test_card_needs_neither_quality_nor_notes() -> None:
    values = json.loads(tiny_card(b"").to_json())
    del values["quality"], values["notes"]
    card = parse_card(json.dumps(values), "x.json")
    assert (card.quality, card.notes) == ((), "")


@pytest.mark.parametrize(
    "key", sorted({field.name for field in dataclasses.fields(Card)} - {"quality", "notes"})
)
def test_card_without_a_key_names_it(key: str) -> None:
    values = json.loads(tiny_card(b"").to_json())
    del values[key]
    with pytest.raises(ModelError, match=rf"^x.json: expected the keys of a model card, got no '{key}'$"):
        parse_card(json.dumps(values), "x.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 3),
        ("images_seen", 1.5),
        ("images_seen", -1),
        ("images_seen", True),
        ("mask_kinds", "strokes"),
        ("mask_kinds", [1]),
        ("limits", 256),
        ("limits", {"native": 256}),
        ("limits", {"native": 256, "multiple": 8, "largest": "384"}),
        ("limits", {"native": 250, "multiple": 8, "largest": 384}),
        ("limits", {"native": 256, "multiple": 8, "largest": 128}),
        ("limits", {"native": 0, "multiple": 0, "largest": 0}),
        ("limits", {"native": 64, "multiple": 8, "largest": 128, "whole": 1}),
        ("limits", {"native": True, "multiple": 8, "largest": 128}),
        ("sha256", "abc"),
        ("sha256", "Z" * 64),
        ("quality", {}),
        ("quality", [{"data": "set", "masks": "strokes"}]),
        ("quality", [{"data": "set", "masks": "strokes", "model": "tiny", "psnr": "26"}]),
    ],
)
def test_card_with_a_wrong_value_is_one_line(key: str, value: Any) -> None:
    values = json.loads(tiny_card(b"").to_json()) | {key: value}
    with pytest.raises(ModelError, match=rf"^x.json: expected {key}.*, got .*[^\n]$") as caught:
        parse_card(json.dumps(values), "x.json")
    assert "\n" not in str(caught.value)


def test_card_with_an_unknown_key_names_it() -> None:
    values = json.loads(tiny_card(b"").to_json()) | {"colour": "red"}
    with pytest.raises(
        ModelError, match=r"^x.json: expected the keys of a model card, got an unknown 'colour'$"
    ):
        parse_card(json.dumps(values), "x.json")


@given(st.one_of(st.binary(max_size=40), st.text(max_size=40)))
@example("[" * 200_000)
@example("[]")
def test_card_of_anything_is_an_error_of_ours(text: str | bytes) -> None:
    with pytest.raises(ModelError, match=r"x.json: expected"):
        parse_card(text, "x.json")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from([field.name for field in dataclasses.fields(Card)]),
)
def test_card_with_any_value_is_read_or_refused(value: Any, key: str) -> None:
    values = json.loads(tiny_card(b"").to_json()) | {key: value}
    try:
        card = parse_card(json.dumps(values), "x.json")
    except ModelError:
        return
    assert parse_card(card.to_json(), "x.json") == card


def test_shipped_cards_fit_their_weights() -> None:
    found = cards()
    assert list(found) == sorted(found, key=lambda name: (name != DEFAULT, name))
    for name, card in found.items():
        assert card.name == name
        assert load(name).card == card  # also checks the SHA-256
        assert 0 < weights_size(name) <= 12e6
        assert card.limits.whole == ("--whole" in card.command.split())
    assert sum(map(weights_size, found)) <= 60e6


# ---- networks ---------------------------------------------------------------------------------------------


def test_network_keeps_the_contract(tiny_model: Path) -> None:
    model = load(tiny_model)
    assert model.predictor.limits == LIMITS
    image, hole = batch(2, 32, 48)
    before = image.copy(), hole.copy()
    completion = model.predictor(image, hole, seed=0)
    assert (completion.shape, completion.dtype) == (image.shape, np.float32)
    assert completion.std() > 0.01  # the network says something
    assert np.array_equal(image, before[0]) and np.array_equal(hole, before[1])


@pytest.mark.parametrize("activation", ["LeakyRelu", "Elu"])
@pytest.mark.parametrize("threads", [1, 2, None])
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (36, 60)])
def test_completion_does_not_depend_on_the_batch(
    tmp_path: Path, threads: int | None, size: tuple[int, int], activation: str
) -> None:
    """Nor on the cores that it asks for later; Elu is of those whose bits would, and shares nothing."""
    predictor = load(
        write_model(tmp_path, "tiny", tiny_network(activation=activation)), threads=threads
    ).predictor
    assert isinstance(predictor, OnnxPredictor) and predictor.even == (activation != "Elu")
    image, hole = batch(4, *size)
    together = predictor(image, hole, seed=0)
    alone = [predictor(image[i : i + 1], hole[i : i + 1], seed=0) for i in range(4)]
    turned = predictor(image[::-1], hole[::-1], seed=5)[::-1]
    assert together.tobytes() == np.concatenate(alone).tobytes() == turned.tobytes()
    assert predictor.on(1)(image, hole, seed=0).tobytes() == together.tobytes()


def test_sessions_are_made_once_and_shared(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    original = sessions.onnx_session
    monkeypatch.setattr(sessions, "_sessions", {})
    monkeypatch.setattr(sessions, "onnx_session", lambda *args: made.append(args[1]) or original(*args))
    copy = write_model(tmp_path, "copy", tiny_model.read_bytes())
    sessions.begin(str(tiny_model), 1)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        models = list(pool.map(lambda path: load(path, threads=1), [tiny_model, copy] * 8))
    load(tiny_model, threads=2)
    assert made == [1, 2]
    assert len({id(model.predictor.session) for model in models}) == 1  # type: ignore[attr-defined]


def test_old_sessions_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_sessions", {})
    monkeypatch.setattr(sessions, "onnx_session", lambda *_: object())
    first = sessions.shared(b"0", 1, "x")
    assert sessions.shared(b"0", 1, "x") is first
    for i in range(1, sessions.KEPT + 1):
        sessions.shared(str(i).encode(), 1, "x")
    assert len(sessions._sessions) == sessions.KEPT
    assert sessions.shared(b"0", 1, "x") is not first


@pytest.mark.parametrize(
    "name", ["telea", "nothing", "gone.onnx", "folder", "hf:owner/name", "model.safetensors"]
)
def test_what_is_no_network_begins_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(sessions, "_sessions", {})
    sessions.begin(name, None)
    assert sessions._sessions == {}


def test_a_broken_network_that_was_begun_is_told_of_when_it_is_loaded(tmp_path: Path) -> None:
    path = write_model(tmp_path, "broken", b"no network")
    sessions.begin(str(path), None)
    for _ in range(2):
        with pytest.raises(ModelError, match="expected a network in ONNX"):
            load(path)


def test_models_and_cards_can_be_keys(tiny_model: Path) -> None:
    model, again = load(tiny_model), load(tiny_model)
    assert {model: 1}[again] == {model.card: 1}[again.card] == 1


def test_a_replaced_file_is_a_new_model(tiny_model: Path) -> None:
    image, hole = batch(1, 32, 32)
    before = load(tiny_model).predictor(image, hole, seed=0)
    write_model(tiny_model.parent, "tiny", tiny_network(channels=6))
    assert not np.array_equal(load(tiny_model).predictor(image, hole, seed=0), before)


def test_several_threads_share_a_network(tiny_model: Path) -> None:
    predictor = load(tiny_model).predictor
    image, hole = batch(8, 32, 32)
    expected = predictor(image, hole, seed=0)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda i: predictor(image[i : i + 1], hole[i : i + 1], seed=0), [*range(8)] * 4))
    np.testing.assert_array_equal(np.concatenate(got), np.tile(expected, (4, 1, 1, 1)))


def test_a_model_goes_to_another_process(tiny_model: Path) -> None:
    model = load(tiny_model, threads=1)
    image, hole = batch(2, 32, 32)
    script = """
import pickle, sys
predictor, image, hole = pickle.load(sys.stdin.buffer)
pickle.dump(predictor(image, hole, seed=0), sys.stdout.buffer)
"""
    given = pickle.dumps((model.predictor, image, hole))
    answer = subprocess.run([sys.executable, "-c", script], input=given, capture_output=True, check=True)
    np.testing.assert_array_equal(pickle.loads(answer.stdout), model.predictor(image, hole, seed=0))
    assert copy.deepcopy(model) == model


def test_windows_that_do_not_fit_are_one_line(tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image, _ = batch(1, 32, 32)
    _, hole = batch(1, 32, 36)
    with pytest.raises(ModelError, match=r"tiny.onnx: failed on a window of 32 x 32: [^\n]+$"):
        load(tiny_model).predictor(image, hole, seed=0)
    assert capfd.readouterr().err == ""  # ONNX Runtime keeps quiet


# ---- damaged and foreign files ----------------------------------------------------------------------------


def refused(path: Path | str, match: str) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_tampered_weights(tiny_model: Path) -> None:
    data = bytearray(tiny_model.read_bytes())
    data[len(data) // 2] ^= 1
    tiny_model.write_bytes(data)
    refused(
        tiny_model, r"tiny.onnx: expected SHA-256 \w{12}\.\.\. as its card says, got \w{12}\.\.\.: .* damaged"
    )


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_truncated_weights(tiny_model: Path, share: float) -> None:
    data = tiny_model.read_bytes()
    tiny_model.write_bytes(data[: int(len(data) * share)])
    refused(tiny_model, "tiny.onnx: expected SHA-256")


@pytest.mark.parametrize("data", [b"", b"not a network", bytes(100), b"\x08\x0a"])
def test_something_else_with_a_card(tmp_path: Path, data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    refused(write_model(tmp_path, "other", data), r"other.onnx: expected .*, got")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "options",
    [
        {"names": ("input", "mask", "output")},
        {"names": ("image", "hole", "output")},
        {"size": 32},
        {"outputs": 1},
    ],
)
def test_foreign_network(tmp_path: Path, options: dict[str, Any]) -> None:
    path = write_model(tmp_path, "foreign", tiny_network(**options))
    refused(path, r"foreign.onnx: expected inputs image \(B, 3, H, W\) and hole .*; got .*\(")


def test_weights_without_a_card(tiny_model: Path) -> None:
    tiny_model.with_suffix(".json").unlink()
    refused(tiny_model, r"tiny.onnx: expected its card tiny.json beside it, got: No such file")


def test_card_without_weights(tiny_model: Path) -> None:
    tiny_model.unlink()
    refused(tiny_model, r"tiny.onnx: expected the weights of a model, got: No such file")


@pytest.mark.parametrize("name", ["a\0b", "a\0b.onnx", "a\0b.safetensors", "a\0b.py", "hf:a\0b/c"])
def test_no_file_has_such_a_name(name: str) -> None:
    with pytest.raises(ModelError, match="expected"):
        load(name)


def test_damaged_card(tiny_model: Path) -> None:
    tiny_model.with_suffix(".json").write_text("{")
    refused(tiny_model, r"tiny.json: expected a model card in JSON, got")


def test_another_file(photo_path: Path) -> None:
    refused(
        photo_path,
        r"photo.png: expected a .onnx, .safetensors or .py file or a training run, got another file",
    )


@pytest.mark.parametrize("name", [b"telea", 3])
def test_neither_a_name_nor_a_path(name: Any) -> None:
    with pytest.raises(ModelError, match=f"expected the name of a model, or a path, got {name!r}"):
        load(name)


def test_threads_below_one(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="threads: expected a whole number of at least 1, got 0"):
        load(tiny_model, threads=0)


# ---- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(CLASSICAL) - {"biharmonic"}))
def test_classical_by_name(name: str) -> None:
    model = load(name)
    assert (model.name, model.card) == (name, None)
    image, hole = batch(1, 32, 32)
    assert model.predictor(image, hole, seed=0).shape == image.shape
    again = pickle.loads(pickle.dumps(model))
    assert again.predictor(image, hole, seed=0).tobytes() == model.predictor(image, hole, seed=0).tobytes()


def test_a_shipped_name_before_a_file_of_that_name(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retouch.cards.weights_folder", lambda: tiny_model.parent)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    card = load("tiny").card
    assert card is not None and card.name == "tiny"
    refused("./tiny", "folder without checkpoint")
    monkeypatch.setattr(MODELS, "DEFAULT", "tiny")
    assert load().card == card


@pytest.mark.parametrize(
    "name", ["telae", "Telea", "navier stokes", "nonsense", "", "../telea", "a\0b", "x" * 5000]
)
def test_unknown_names(name: str) -> None:
    refused(name, r"expected a model, got .*`retouch models` lists")
    if name in ("telae", "Telea"):
        refused(name, "did you mean telea")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    refused(tmp_path, "expected a .onnx file or a training run, got a folder without checkpoint")


def test_a_run_without_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoint").mkdir()
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("retouch.training")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(
        MissingExtraError, match=r"completing with a training run needs the extra 'train': pip install"
    ):
        load(tmp_path)


# ---- the hub ----------------------------------------------------------------------------------------------


class Hub(http.server.BaseHTTPRequestHandler):
    """Enough of the hub: a/tiny holds a model, a/searching one in safetensors; others answer with its errors."""

    weights = b""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, *, body: bool) -> None:
        files = {"model.onnx": self.weights, "model.json": tiny_card(self.weights).to_json().encode()}
        repository, file = "/".join(self.path.split("/")[1:3]), self.path.rpartition("/")[2]
        if repository == "a/searching":
            files["model.safetensors"] = files.pop("model.onnx")
        data = files.get(file, b"") if repository in ("a/tiny", "a/searching") else b""
        if data:
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
        else:
            codes = {"a/gated": "GatedRepo", "a/empty": "EntryNotFound", "a/searching": "EntryNotFound"}
            code = codes.get(repository, "RepoNotFound")
            self.send_response(403 if code == "GatedRepo" else 404)
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)


LOAD_ALL = """
import json, sys
import retouch
for name in sys.argv[1:]:
    try:
        print(json.dumps(retouch.load(name).card.name))
    except retouch.ModelError as error:
        print(json.dumps(str(error)))
"""


def test_hub(tiny_weights: bytes, tmp_path: Path) -> None:
    handler = type("Handler", (Hub,), {"weights": tiny_weights})

    def load_all(port: int, *names: str, **variables: str) -> list[str]:
        variables |= {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(tmp_path / "hub")}
        command = [sys.executable, "-c", LOAD_ALL, *names]
        done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port
        names = ("hf:a/tiny", "hf:a/gated", "hf:a/empty", "hf:a/none", "hf:a/b/c", "hf:")
        assert load_all(port, *names) == [
            "tiny",
            "hf:a/gated: the hub wants you to log in and accept its terms first",
            "hf:a/empty: expected model.json and model.onnx or model.safetensors in the repository, found others",
            "hf:a/none: expected a public repository on the hub, found none of this name",
            "expected hf:OWNER/NAME, got 'hf:a/b/c'",
            "expected hf:OWNER/NAME, got 'hf:'",
        ]
        (searching,) = load_all(port, "hf:a/searching")
        assert "model.safetensors: expected a model in safetensors" in searching  # fetched, and not one
        server.shutdown()
    assert load_all(port, "hf:a/searching") == [searching]  # from the cache
    unreachable = "hf:a/other: not in the hub's cache, and the hub cannot be reached (offline?)"
    assert load_all(port, "hf:a/tiny", "hf:a/other") == ["tiny", unreachable]  # nobody listens any more
    assert load_all(port, "hf:a/tiny", "hf:a/other", HF_HUB_OFFLINE="1") == ["tiny", unreachable]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("reset\nby peer"), OSError()]
)
def test_hub_fails(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", fail)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    refused("hf:a/b", "hf:a/b: the hub cannot be read: (.*No space left|reset|OSError)")
