"""Models: weight files with their cards, and one way to load any of them by name.

A shipped model is ``weights/NAME.onnx`` with its card ``weights/NAME.json``, or ``NAME.safetensors`` of a method
that searches. ONNX Runtime, PyTorch (for searching alone) and the client of the hub are imported where they are
used: who asks for a classical method does not wait for them.
"""

import difflib
import hashlib
import importlib.resources
import os
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import PIL.Image

from retouch import engine, sessions
from retouch import image as images
from retouch.boxes import Limits
from retouch.cards import DEFAULT, SUFFIXES, Card, parse_card, shipped_names, shipped_weights
from retouch.classical import CLASSICAL, PatchMatch
from retouch.engine import Blend, Predictor
from retouch.errors import ModelError, RetouchWarning, check_whole, first_line, needs
from retouch.hub import fetched
from retouch.image import Source
from retouch.own import PYTHON, from_python

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]

Search = Literal["paper", "inverter"]
# ONNX Runtime rounds these differently where a thread's part of the work ends.
UNEVEN = (b"Elu", b"Selu", b"Softplus", b"Log")
TOGETHER = 2 * 192 * 192  # px of windows that share a pass; more took as long as one by one, and more memory


# ---- networks in ONNX Runtime -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OnnxPredictor:
    """A network in ONNX Runtime, on the CPU. Several threads may call it at once.

    The seed is not used: these networks are deterministic. Small windows share a pass where they get the bits of a
    pass for each, and the same on any number of cores: where no operator mixes the elements of a batch, as none of
    the methods' networks does (a test compares), and none is UNEVEN.

    Args:
        name: for messages.
        limits: of the windows.
        session: of ONNX Runtime.
        weights: the ONNX file's content.
        even: whether a window's bits depend neither on its company nor on the cores.
    """

    name: str
    limits: Limits
    session: "InferenceSession"
    weights: bytes = field(repr=False)
    even: bool

    def together(self, height: int, width: int) -> int:
        """How many windows of this size one pass does faster than one after another."""
        return max(1, TOGETHER // (height * width)) if self.even else 1

    def on(self, threads: int) -> "OnnxPredictor":
        """The same network on so many cores, if that gives the same bits; else as it is."""
        return replace(self, session=sessions.shared(self.weights, threads, self.name)) if self.even else self

    def __call__(self, image: np.ndarray, hole: np.ndarray, *, seed: int) -> np.ndarray:
        """(B, 3, h, w) in [0, 1] and (B, 1, h, w), 1 = missing, float32 -> (B, 3, h, w) float32.

        Raises:
            ModelError: ONNX Runtime cannot run the network on such windows. (The engine checks its answer.)
        """
        most = self.together(*image.shape[2:])
        passes = (slice(start, start + most) for start in range(0, len(image), most))
        return np.concatenate([self._pass(image[part], hole[part]) for part in passes])

    def __reduce__(self) -> tuple[object, ...]:
        """A session cannot be copied, nor sent to another process, which makes its own."""
        threads = self.session.get_session_options().intra_op_num_threads
        return _remade, (self.name, self.limits, self.weights, threads, self.even)

    def _pass(self, image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        try:
            (completion,) = self.session.run(["completion"], {"image": image, "hole": hole})
        except Exception as error:  # ONNX Runtime's exceptions share no class of their own
            size = f"{image.shape[3]} x {image.shape[2]}"
            raise ModelError(f"{self.name}: failed on a window of {size}: {first_line(error)}") from error
        return np.asarray(completion)


def _remade(source: str, limits: Limits, weights: bytes, threads: int, even: bool) -> OnnxPredictor:
    return OnnxPredictor(source, limits, sessions.shared(weights, threads, source), weights, even)


# ---- loading ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is ready: call it with a photograph and a mask.

    Args:
        name: what was asked for.
        predictor: what the engine calls.
        card: None for classical methods, training runs and models of one's own.
        sha256: changes when the weights do: of the weight or Python file, or of what a training run says of itself.
            Empty for classical methods.
    """

    name: str
    predictor: Predictor = field(repr=False)
    card: Card | None = field(default=None, repr=False)
    sha256: str = ""

    def __call__(
        self,
        image: Source,
        mask_image: Source,
        *,
        seed: int = 0,
        num_images: int = 1,
        dilate: int = 0,
        feather: int = engine.FEATHER,
        blend: Blend = "feather",
    ) -> list[PIL.Image.Image]:
        """Completes one photograph.

        Args:
            image: path, PIL image or array ((H, W) or (H, W, C), uint8 or uint16); never written to.
            mask_image: the same size; white (>= 128) is filled. In an array of bool, True is filled.
            seed: for models that draw random numbers.
            num_images: how many completions are wanted, of models that search the best first; a deterministic model
                has one and returns that.
            dilate: first grow the hole by so many pixels.
            feather: for ``blend="feather"``, width in pixels of the band inside the hole that meets the known ones.
            blend: how it meets them: ``"none"``, ``"feather"`` or ``"poisson"``.

        Returns:
            At most ``num_images`` pictures of the photo's size and mode; outside the (dilated) hole every
            pixel is the photo's own. Pillow has no colour of 16 bits: that comes back in 8 (``retouch.complete`` with
            ``output`` writes all of them).

        Raises:
            FileNotFoundError, ImageError, MaskError, ModelError.
            OptionError: an unknown ``blend``, or numbers that are too small or not whole.

        Warns:
            RetouchWarning: of what was converted.
        """
        check_whole(ModelError, 1, num_images=num_images)
        photo = images.read(image)
        hole = images.read_mask(mask_image, photo.size)
        for note in photo.notes:
            warnings.warn(note, RetouchWarning, stacklevel=2)
        return [
            images.to_pil(
                engine.complete(photo, hole, each, seed=seed, dilate=dilate, feather=feather, blend=blend)
            )
            for each in self.answers(num_images)
        ]

    def answers(self, count: int) -> list[Predictor]:
        """A Predictor for each of at most ``count`` different answers; a deterministic model has one.

        Models that search put the best first: a photo of many windows gets, as its n-th completion, every window's
        n-th best.
        """
        variants = getattr(self.predictor, "variants", None)
        return [self.predictor] if variants is None else list(variants(count))


def load(
    name: str | os.PathLike[str] | None = None, *, threads: int | None = None, search: Search | None = None
) -> Model:
    """Loads a model.

    Args:
        name: a shipped model (see ``retouch.models()``; None is the default one), a classical method
            (``"telea"``, ...), a path to ``NAME.onnx`` or ``NAME.safetensors`` with its card ``NAME.json``
            beside it, the folder of a training run (this and ``.safetensors`` need the extra ``train``),
            ``"hf:OWNER/NAME"``: such files named ``model`` in that repository on the Hugging Face hub; or a
            path to ``NAME.py``, whose code is run: a model of your own (`retouch.own`).
        threads: cores that a network, or patchmatch, may use; None: all.
        search: for models that search: as in the ``"paper"``, from random starts, or from where the
            ``"inverter"`` network starts it, in a fraction of the time (the default).

    Raises:
        ModelError: no such model, a damaged or foreign file, neither a name nor a path, or ``threads`` that are no
            number of them.
        MissingExtraError: the model needs a package of an extra.
    """
    if threads is not None:
        check_whole(ModelError, 1, threads=threads)
    if not isinstance(name, str | os.PathLike | None):
        raise ModelError(f"expected the name of a model, or a path, got {name!r:.80}")
    name = DEFAULT if name is None else os.fspath(name)
    model = _load(name, threads)
    searching = getattr(model.predictor, "searching", None)
    if searching is not None:
        return replace(model, predictor=searching(search, threads))
    if search is not None:
        raise ModelError(f"{name}: expected a model that searches for search={search}, got one that does not")
    return model


def _load(name: str, threads: int | None) -> Model:
    if name.startswith("hf:"):
        return _load_file(name, fetched(name), threads)
    if name in shipped_names():
        with importlib.resources.as_file(shipped_weights(name)) as weights:
            return _load_file(name, weights, threads)
    if name in CLASSICAL:
        predictor = CLASSICAL[name]()
        return Model(name, predictor.on(threads) if isinstance(predictor, PatchMatch) else predictor)
    if os.path.isdir(name):
        return _load_run(Path(name), threads)
    if name.lower().endswith(PYTHON):
        source = _bytes(Path(name), "the Python of a model")
        return Model(name, from_python(Path(name), source), sha256=hashlib.sha256(source).hexdigest())
    if os.path.isfile(name) or name.lower().endswith(SUFFIXES):
        return _load_file(name, Path(name), threads)
    near = difflib.get_close_matches(name[:80], [*shipped_names(), *CLASSICAL], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ModelError(
        f"expected a model, got {name[:80]!r}: {hint}`retouch models` lists their names; "
        "a .onnx, .safetensors or .py file, a training run or hf:OWNER/NAME will do too"
    )


def _load_file(name: str, path: Path, threads: int | None) -> Model:
    card_path = path.with_suffix(".json")
    if path.suffix.lower() not in SUFFIXES:
        raise ModelError(
            f"{path}: expected a .onnx, .safetensors or .py file or a training run, got another file"
        )
    weights = _bytes(path, "the weights of a model")
    try:
        card = parse_card(card_path.read_bytes(), str(card_path))
    except OSError as error:
        raise ModelError(
            f"{path}: expected its card {card_path.name} beside it, got: {error.strerror} "
            "(a network from elsewhere: name a .py file that runs it)"
        ) from error
    sha256 = hashlib.sha256(weights).hexdigest()
    if sha256 != card.sha256:
        raise ModelError(
            f"{path}: expected SHA-256 {card.sha256[:12]}... as its card says, got {sha256[:12]}...: "
            "the file is damaged or was changed"
        )
    if path.suffix.lower() == ".onnx":
        # as ONNX files name operators; looked at before the session, which may be in the making meanwhile
        even = not any(b'"%c%s' % (len(kind), kind) in weights for kind in UNEVEN)
        session = sessions.shared(weights, threads or 0, str(path))
        return Model(name, OnnxPredictor(name, card.limits, session, weights, even), card, sha256)
    with needs("train", f"completing with {name}, a model that searches,"):
        from retouch.training import search_predictor
    return Model(name, search_predictor.from_safetensors(weights, card.limits, str(path)), card, sha256)


def _bytes(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # the latter for a name with a NUL
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"{path}: expected {what}, got: {reason}") from error


def _load_run(path: Path, threads: int | None) -> Model:
    if not (path / "checkpoint").is_dir():
        raise ModelError(f"{path}: expected a .onnx file or a training run, got a folder without checkpoint")
    with needs("train", "completing with a training run"):
        from retouch.training import export
    predictor, state = export.predictor(path, threads)
    return Model(str(path), predictor, sha256=hashlib.sha256(repr(state).encode()).hexdigest())
