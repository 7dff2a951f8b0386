"""Complete one photograph of any size: plan -> crop -> predict -> blend -> composite.

The engine knows of a model only what `Predictor` says. It shows it windows around the hole (`windows` and
`pyramid`), lets what comes back meet the known pixels (`blend`), and hands all of it to `image.composite`. A model
of whole pictures completes a photograph of another size `scaled`; windows of the photograph then show that.
Pixels become floats in crops only; what was in the hole is zeroed before anything is computed from it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Literal, Protocol, runtime_checkable

import cv2
import numpy as np
import numpy.typing as npt

from retouch import blend as blending
from retouch import image, scaled, windows
from retouch.boxes import Box, Limits, Window
from retouch.errors import (
    ImageError,
    MaskError,
    ModelError,
    NothingKnownError,
    OptionError,
    check_choice,
    check_whole,
)
from retouch.image import Patch, Photo
from retouch.pyramid import Fill, Level, levels, to_words

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Blend = Literal["none", "feather", "poisson"]

BLENDS: tuple[Blend, ...] = ("none", "feather", "poisson")
FEATHER = 8  # px
BACK = Limits(256, 1, 512, 32)  # windows of a completion at another size; they could be of any
LONGEST = 64  # times as long as wide: beyond that a photograph is none that a model of whole pictures knows
BEYOND = 0.5  # how far a prediction may leave [0, 1], to which it is clipped
TILE = 512  # px: side of the crops in which a hole is dilated, and its deep interior delivered


class Predictor(Protocol):
    """A model as the engine sees it.

    Called with ``image`` (B, 3, h, w) float32 RGB in [0, 1], 0 in the hole, and ``hole`` (B, 1, h, w)
    float32, 1 = missing, it returns its prediction for whole windows, (B, 3, h, w) floats in [0, 1], clipped
    where they leave it by at most a half, else refused; h and w keep to ``limits``. Every call of one
    completion gets the same ``seed``. What is predicted for an element must depend on that element and the
    seed alone, not on its place in the batch or on the others: a model that needs noise draws it anew from
    the seed for each element.

    Outside the hole the prediction should say what the model makes of the known pixels, since blending judges
    the seam by it and by the difference across the border (of a model that pastes them, by that alone).
    """

    @property
    def limits(self) -> Limits: ...

    def __call__(self, image: Floats, hole: Floats, *, seed: int) -> Floats: ...


@runtime_checkable
class Watchable(Predictor, Protocol):
    """A Predictor that may take many seconds for a window, and can be watched and ended meanwhile: one at a time."""

    def watched(self, tell: Callable[[float], None]) -> Predictor:
        """The same; calls ``tell`` with the share of a window that is done, in [0, 1], and ends by what that raises."""


def complete(
    photo: Photo,
    hole: Bools,
    predictor: Predictor,
    *,
    seed: int = 0,
    dilate: int = 0,
    feather: int = FEATHER,
    blend: Blend = "feather",
    batch_size: int = 4,
    progress: Callable[[float, int], None] | None = None,
) -> Photo:
    """Fill the hole of a photograph; every pixel outside the (dilated) hole stays bit-exact.

    The result depends on the photo's known pixels, the hole, the predictor and the seed alone: not on what is
    in the hole, and not on ``batch_size``.

    Args:
        photo: as `image.read` gives it; not written to.
        hole: (H, W) bool, True = missing; not written to.
        predictor: the model.
        seed: passed to every call of the predictor.
        dilate: grow the hole by this many px, elliptically.
        feather: for ``blend="feather"``, width in px of the band inside the hole, at least 1.
        blend: how the prediction meets the known pixels: pasted (``"none"``), corrected along the border
            (``"feather"``), or corrected throughout, keeping its gradients (``"poisson"``); by how much,
            `blend.border_error` says.
        batch_size: windows per call of the predictor, at most.
        progress: called with the number of windows done and their total, from (0, total) to (total, total); those by
            which a completion at another size is scaled back count too, and that in hand of a `Watchable` in part.
            What it raises ends the work.

    Returns:
        the completed photo; ``photo`` itself where the hole is empty.

    Raises:
        ImageError: what is no photo.
        MaskError: for a hole of another shape or dtype, or one that leaves nothing known.
        ModelError: what is no predictor, or returns something else than it should.
        OptionError: an unknown ``blend``, or numbers that are too small or not whole.
    """
    _check(photo, hole, predictor, blend)
    check_whole(OptionError, 0, seed=seed, dilate=dilate)
    check_whole(OptionError, 1, feather=feather, batch_size=batch_size)
    hole = dilated(hole, dilate)
    if not hole.any():
        return photo
    if hole.all():
        grown = f" after dilating by {dilate} px" if dilate else ""
        raise NothingKnownError(
            f"expected a hole that leaves known pixels to complete from, got one that covers all "
            f"{photo.width} x {photo.height} px{grown}"
        )
    limits, done = predictor.limits, 0
    foreign = _foreign(photo.size, limits)
    shown, gap = scaled.scaled(photo, hole, limits.native) if foreign else (photo, hole)
    plan, back = windows.plan(gap, limits), windows.plan(hole, BACK) if foreign else ()

    def tell(share: float) -> None:
        if progress:
            progress(done + share, len(plan) + len(back))

    def advance(count: int) -> None:
        nonlocal done
        done += count
        tell(0)

    if isinstance(predictor, Watchable):
        predictor, batch_size = predictor.watched(tell), 1

    fill = partial(_filled, feather=feather, batch_size=batch_size, advance=advance)
    predict = partial(_predict, predictor, seed)
    advance(0)
    if not foreign:
        return fill(photo, hole, plan, limits, predict, blend=blend)
    # Blended once, at the photo's own size: twice was up to 0.2 dB worse on faces.
    shown = fill(shown, gap, plan, limits, predict, blend="none")
    completed = image.rgb(shown, slice(None), slice(None))
    return fill(photo, hole, back, BACK, partial(_scale_back, completed, photo.size), blend=blend)


def among(progress: Callable[[float, int], None], number: int, count: int) -> Callable[[float, int], None]:
    """Of ``progress`` for ``count`` completions of one photograph and hole, what the ``number``-th (from 0) calls."""
    return lambda done, total: progress(number * total + done, count * total)


def _foreign(size: tuple[int, int], limits: Limits) -> bool:
    """Whether the photograph has another size than a model of whole pictures knows, and is no thin strip."""
    shorter, longer = sorted(size)
    return limits.whole and shorter != limits.native and longer <= LONGEST * shorter


def _filled(
    photo: Photo,
    hole: Bools,
    plan: Sequence[Window],
    limits: Limits,
    ask: Callable[[Sequence[Window], Sequence["_Crop"]], list[Floats]],
    *,
    blend: Blend,
    feather: int,
    batch_size: int,
    advance: Callable[[int], None],
) -> Photo:
    """Complete by the windows of a plan: ``ask`` gives those of one shape as (h, w, 3) of each one's source.

    ``advance`` is told how many were done.
    """
    if not plan:
        return photo
    pyramid = levels(photo, hole, plan)
    for (number, _), stage in groupby(plan, key=lambda window: (window.level, window.stage)):
        level, fills = pyramid[number], list[Fill]()
        for _, same in groupby(stage, key=lambda window: window.shape):
            alike = list(same)
            for start in range(0, len(alike), batch_size):
                batch = alike[start : start + batch_size]
                shown = [_show(level, window, limits) for window in batch]
                for window, crop, prediction in zip(batch, shown, ask(batch, shown), strict=True):
                    fills.append(_fill(window, crop, prediction, blend, feather))
                advance(len(batch))
        level.settle(fills)
    return image.composite(photo, hole, _patches(pyramid[0]))


def _check(photo: Photo, hole: Bools, predictor: Predictor, blend: str) -> None:
    if not isinstance(photo, Photo):
        raise ImageError(f"expected a photo as image.read gives it, got {type(photo).__name__}")
    if not callable(predictor) or not isinstance(getattr(predictor, "limits", None), Limits):
        got = type(predictor).__name__
        raise ModelError(f"expected a predictor, a callable whose limits are retouch.Limits, got {got}")
    size = photo.size
    if not isinstance(hole, np.ndarray) or hole.dtype != np.bool_ or hole.shape != size:
        got = f"{hole.shape} {hole.dtype}" if isinstance(hole, np.ndarray) else type(hole).__name__
        raise MaskError(f"expected a hole of shape {size} and dtype bool, as the photo's, got {got}")
    check_choice(OptionError, BLENDS, blend=blend)


def dilated(hole: Bools, radius: int) -> Bools:
    """Every pixel at most ``radius`` px from a hole (H, W), tile by tile where there is any; the same hole for 0."""
    if radius == 0:
        return hole
    radius = min(radius, sum(hole.shape))
    grown = np.zeros(hole.shape, np.bool_)
    for tile in _tiles(hole.shape[0], hole.shape[1], max(TILE, 2 * radius)):
        wide = Box(tile.top - radius, tile.left - radius, tile.bottom + radius, tile.right + radius)
        wide = wide.common(Box(0, 0, *hole.shape))
        crop = hole[wide.rows, wide.cols]
        if crop.any():
            inner = tile.within(wide)
            away = cv2.distanceTransform((~crop).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            grown[tile.rows, tile.cols] = away[inner.rows, inner.cols] <= radius
    return grown


def _tiles(height: int, width: int, side: int = TILE) -> Iterator[Box]:
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Box(top, left, min(top + side, height), min(left + side, width))


# Windows: what the predictor is shown, and what becomes of its answer.


@dataclass(frozen=True, slots=True)
class _Crop:
    """What a window shows: (h, w, 3) RGB, 0 where ``hidden``.

    ``known`` holds the pixels that the prediction has to meet. Deep inside a large hole the coarser level is
    shown too: ``below`` (h, w, 3), with ``share`` (h, w), how much of the prediction to take against it.
    """

    rgb: Floats
    known: Bools
    hidden: Bools
    below: Floats | None = None
    share: Floats | None = None


def _show(level: Level, window: Window, limits: Limits) -> _Crop:
    """Read a window's source; deeper inside the hole than the band, the coarser level counts as known."""
    rgb, hidden = level.settled(window.source), level.open(window.source)
    if level.coarser is None:
        return _Crop(rgb, ~hidden, hidden)
    below, covered = level.below(window.source)
    width = windows.band(limits)
    hole = np.ascontiguousarray(level.missing(window.source))
    distance = cv2.distanceTransform(hole.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    interior = hidden & covered & (distance > width)
    if not interior.any():
        return _Crop(rgb, ~hidden, hidden)
    rgb[interior] = below[interior]
    # The prediction alone in the band's outer half, then a smooth ramp down to the coarser level.
    inwards = cv2.distanceTransform((~interior).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ramp = np.where(covered, np.clip(inwards / (width / 2), 0, 1), 1)
    share = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
    return _Crop(rgb, ~hidden, hidden & ~interior, below, share)


def _scale_back(
    completed: Floats, size: tuple[int, int], batch: Sequence[Window], crops: Sequence[_Crop]
) -> list[Floats]:
    """Answer windows of a photograph of this height and width by (h, w, 3), its completion at another size."""
    height, width = size
    return [
        scaled.resampled(completed, window.source, height / 2**window.level, width / 2**window.level)
        for window in batch
    ]


def _predict(
    predictor: Predictor, seed: int, batch: Sequence[Window], crops: Sequence[_Crop]
) -> list[Floats]:
    """Ask for windows of one shape; gives each prediction as (h, w, 3) of its source, checked.

    Where a window shows nothing but grey, as all of an old photograph scanned in colour, so is its prediction.
    """
    height, width = batch[0].shape
    pictures = np.empty((len(batch), 3, height, width), np.float32)
    holes = np.empty((len(batch), 1, height, width), np.float32)
    for index, crop in enumerate(crops):
        down, right = height - crop.rgb.shape[0], width - crop.rgb.shape[1]
        pad = ((0, down), (0, right))
        pictures[index] = np.pad(crop.rgb, (*pad, (0, 0)), mode="symmetric").transpose(2, 0, 1)
        holes[index, 0] = np.pad(crop.hidden, pad, mode="symmetric")
    shape = pictures.shape
    answer = predictor(pictures, holes, seed=seed)
    if not isinstance(answer, np.ndarray) or answer.shape != shape or answer.dtype.kind != "f":
        got = f"{answer.shape} {answer.dtype}" if isinstance(answer, np.ndarray) else type(answer).__name__
        raise ModelError(f"expected the model to return floats of shape {shape}, got {got}")
    if not np.isfinite(answer).all():
        raise ModelError("expected the model to return finite values, got NaN or infinity")
    low, high = float(answer.min()), float(answer.max())
    if low < -BEYOND or high > 1 + BEYOND:  # of other units, such as 0 to 255 or -1 to 1
        raise ModelError(
            f"expected the model to return values in [0, 1], got some from {low:.3g} to {high:.3g}"
        )
    answer = np.clip(answer, 0, 1).astype(np.float32, copy=False)
    for picture, prediction in zip(pictures, answer, strict=True):
        if (picture == picture[0]).all():
            prediction[:] = np.tensordot(image.LUMA, prediction, 1)
    return [
        np.ascontiguousarray(prediction.transpose(1, 2, 0)[: crop.rgb.shape[0], : crop.rgb.shape[1]])
        for prediction, crop in zip(answer, crops, strict=True)
    ]


def _fill(window: Window, crop: _Crop, prediction: Floats, blend: Blend, feather: int) -> Fill:
    """Let a prediction meet the known pixels, and keep what the window owns of it."""
    if blend == "feather":
        prediction = blending.feather(prediction, crop.rgb, crop.known, crop.hidden, feather)
    elif blend == "poisson":
        prediction = blending.poisson(prediction, crop.rgb, crop.known, crop.hidden)
    if crop.below is not None and crop.share is not None:
        prediction = crop.below + crop.share[..., None] * (prediction - crop.below)
    own = window.core.within(window.source)
    where = crop.hidden[own.rows, own.cols].copy()
    return Fill(window.core, where, to_words(prediction[own.rows, own.cols][where]))


def _patches(level: Level) -> Iterator[Patch]:
    """What the windows completed, one by one; then the deep interior, enlarged from the coarser level."""
    for fill in level.fills:
        rows, cols = fill.core.rows, fill.core.cols
        whole = np.array_equal(fill.where, level.hole[rows, cols])
        yield Patch(rows, cols, fill.rgb(), None if whole else fill.where.astype(np.float32))
    if level.coarser is None:
        return
    for tile in _tiles(*level.hole.shape):
        left = level.open(tile)
        if left.any():
            whole = np.array_equal(left, level.missing(tile))
            weight = None if whole else left.astype(np.float32)
            yield Patch(tile.rows, tile.cols, level.below(tile)[0], weight)
