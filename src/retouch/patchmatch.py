"""Completion by patches of the same picture: whatever touches the hole is made to look like something known.

- Y. Wexler, E. Shechtman, M. Irani, "Space-time completion of video", 2007: from coarse to fine, two steps in turn.
  Each patch that touches the hole finds the known patch nearest to it; each missing pixel becomes the mean of what
  the patches over it say, weighted by how near they came and how far from the known pixels they lie.
- C. Barnes, E. Shechtman, A. Finkelstein, D. Goldman, "PatchMatch: a randomized correspondence algorithm for
  structural image editing", 2009: the search. What fits a patch, moved along, may fit its neighbours; and something
  better may lie anywhere, most likely near.
- A. Newson, A. Almansa, M. Fradet, Y. Gousseau, P. Pérez, "Video inpainting of complex scenes", 2014: patches are
  compared by their texture too, how much the picture changes across and down around each pixel. Without it what is
  smooth looks like the mean of any texture, and spreads.

Deviations: all patches are searched for at once, not in scan order; what fits spreads by two strides instead. The
votes' Gaussian is narrower than in Wexler et al. (`SHARPNESS`).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from retouch import windows
from retouch.pyramid import mean_of_known

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]  # of pixels, row by row

RADIUS = 3  # px: patches are 7 x 7, as in Barnes et al.
SIDE = 2 * RADIUS + 1
CONFIDENCE = 1.3  # a missing pixel d px from the known ones counts CONFIDENCE ** -d (Wexler et al.)
DEEP = 40.0  # px: deeper ones count the same; that of hundreds of pixels would be 0 in 32 bits
QUANTILE = 0.75  # of the squared distances: the variance of the votes' Gaussian (ibid.), but for SHARPNESS
SHARPNESS = 3.0  # ours: at 1 gravel loses its grain, at 8 the seams show
TEXTURE = math.sqrt(50)  # weight of the texture's two channels, beside three of colour (Newson et al.)
AROUND = 15  # px, ours: side of the squares over which texture is averaged
SHALLOW = 3.0  # px, ours: a hole no deeper is not halved further
ROUNDS = (3, 6, 12)  # ours: of the two steps: at full size, at half of it, and below
STRIDES = (RADIUS, 1)  # px: how far what fits is passed on; within a patch, so that none leaves the picture
REACH = 16  # px, ours: how far others are looked for where half the size has been searched
CHUNK = 2048  # patches that are compared at a time: they stay in the cache
VOTED = 4096  # pixels that are voted for at a time: likewise


def fill(
    rgb: Floats,
    hole: Bools,
    *,
    seed: Sequence[int] = (0,),
    threads: int = 1,
    tell: Callable[[float], None] | None = None,
) -> Floats:
    """Completes one picture; the same for the same seed, in however many threads.

    Args:
        rgb: (h, w, 3) float32 in [0, 1]; what it holds in the hole is not read.
        hole: (h, w), True = missing; something is known.
        seed: numbers from 0: of where the search begins, and looks further.
        threads: that share the work.
        tell: called now and then with the share that is done, in [0, 1]; what it raises ends the work.

    Returns:
        (h, w, 3) float32 in [0, 1]; smooth where no patch is wholly known.
    """
    known = np.where(hole[..., None], np.float32(0), np.dstack([rgb, _texture(rgb, hole)]))
    sizes = [(known, hole)]
    while _depth(sizes[-1][1]).max() > SHALLOW and min(sizes[-1][1].shape) > 4 * SIDE:
        sizes.append(_halved(*sizes[-1]))
    rounds = [ROUNDS[min(size, len(ROUNDS) - 1)] for size in range(len(sizes))]
    areas = [int(missing.sum()) for _, missing in sizes]  # a round takes as long as much is missing
    done, total = 0.0, sum(map(math.prod, zip(rounds, areas, strict=True)))
    random = np.random.default_rng(seed)
    picture = _smooth(*_halved(*sizes[-1]))
    found: _Completion | None = None
    with _Threads(threads) as shared:
        for size, (known, missing) in reversed(list(enumerate(sizes))):
            picture = _completed(known, missing, picture)
            finer = _Completion(picture, missing, shared)
            if not (len(finer.whole) and len(finer.targets)):
                continue
            finer.begin(found, random)
            for _ in range(rounds[size]):
                for share in finer.search(random):
                    done += share * areas[size]
                    if tell:
                        tell(min(done / total, 1.0))
                finer.vote()
            found = finer
    return picture[..., :3]


class _Threads(ThreadPoolExecutor):
    """Threads that share out work on many things alike; NumPy lets them compute at the same time."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count

    def each(self, work: Callable[[slice], None], things: int, size: int) -> None:
        """Calls ``work`` with slices of at most ``size`` of so many things."""

        def some(slices: Sequence[slice]) -> None:
            for one in slices:
                work(one)

        slices = [slice(start, start + size) for start in range(0, things, size)]
        if self.count == 1 or len(slices) == 1:
            some(slices)
        else:
            list(self.map(some, (slices[first :: self.count] for first in range(self.count))))


class _Completion:
    """The picture at one size, and for each patch that touches the hole the known one that it shall look like.

    Patches are told by the pixel in their middle, and lie inside the picture.

    Args:
        picture: (h, w, C) float32, contiguous; its hole is completed in place.
        hole: (h, w), True = missing.
        shared: what computes.
    """

    def __init__(self, picture: Floats, hole: Bools, shared: _Threads) -> None:
        self.picture, self.hole, self.shared = picture, hole, shared
        self.height, self.width = hole.shape
        inside = np.zeros(hole.shape, np.bool_)
        inside[RADIUS:-RADIUS, RADIUS:-RADIUS] = True
        touched = cv2.dilate(hole.view(np.uint8), np.ones((SIDE, SIDE), np.uint8)) > 0
        self.is_whole = (inside & ~touched).ravel()
        self.whole: Indices = np.flatnonzero(self.is_whole)  # patches that may be taken
        self.targets: Indices = np.flatnonzero(inside & touched)  # patches that take one
        self.sources = np.zeros_like(self.targets)  # which: `begin` and `search` say
        self.reach = max(hole.shape)  # px: how far from those others are looked for
        self.distances = np.empty(len(self.targets), np.float32)  # how far they are from it
        confidence = np.power(np.float32(CONFIDENCE), -np.minimum(_depth(hole), DEEP))
        self.confidence = confidence.ravel()[self.targets]
        self.totals = (cv2.blur(confidence, (SIDE, SIDE)) * np.float32(SIDE * SIDE)).ravel()[self.targets]
        self.patches = _patches(picture)
        self.weights = _patches(np.repeat(np.sqrt(confidence)[..., None], picture.shape[2], axis=2))

    def begin(self, coarser: "_Completion | None", random: np.random.Generator) -> None:
        """Starts from what was found at half the size; without it, and where that does not fit, anywhere."""
        self.sources = random.choice(self.whole, len(self.targets))
        if coarser is None:
            return
        self.reach = REACH
        taken = np.full(coarser.hole.size, -1, np.int64)
        taken[coarser.targets] = coarser.sources
        row, column = np.divmod(self.targets, self.width)
        source = taken[row // 2 * coarser.width + column // 2]
        down, right = np.divmod(source, coarser.width)
        down, right = 2 * down + row % 2, 2 * right + column % 2
        index = np.minimum(down, self.height - 1) * self.width + np.minimum(right, self.width - 1)
        fits = (source >= 0) & self.is_whole[index]
        self.sources[fits] = index[fits]

    def search(self, random: np.random.Generator) -> Iterator[float]:
        """Step one: PatchMatch, once over; yields, of each part that is done, its share."""
        self.distances = self._distances(np.arange(len(self.targets)), self.sources)
        reaches = [self.reach >> halvings for halvings in range(self.reach.bit_length())]
        share = 1 / (4 * len(STRIDES) + len(reaches))
        taken = np.full(self.hole.size, -1, np.int64)
        for stride in STRIDES:
            for step in (stride, -stride, stride * self.width, -stride * self.width):
                taken[self.targets] = self.sources
                neighbour = taken[self.targets + step]
                self._take(np.where(neighbour < 0, self.sources, neighbour - step))
                yield share
        for reach in reaches:
            row, column = np.divmod(self.sources, self.width)
            row += random.integers(-reach, reach, len(row), endpoint=True)
            column += random.integers(-reach, reach, len(column), endpoint=True)
            self._take(row.clip(0, self.height - 1) * self.width + column.clip(0, self.width - 1))
            yield share

    def vote(self) -> None:
        """Step two: each missing pixel becomes the weighted mean of what the patches over it say."""
        variance = max(float(np.quantile(self.distances, QUANTILE)) / SHARPNESS, 1e-9)
        weights, taken = np.zeros(self.hole.size, np.float32), np.zeros(self.hole.size, np.int64)
        # What says nothing to speak of still counts where nobody else does.
        weights[self.targets] = self.confidence * np.exp(-self.distances / (2 * variance)) + np.float32(1e-12)
        taken[self.targets] = self.sources
        flat = self.picture.reshape(-1, self.picture.shape[2])
        missing = np.flatnonzero(self.hole)
        steps = [
            down * self.width + right
            for down in range(-RADIUS, RADIUS + 1)
            for right in range(-RADIUS, RADIUS + 1)
        ]
        means = np.empty((len(missing), flat.shape[1]), np.float32)

        def mean(some: slice) -> None:
            pixels, sums = missing[some], np.zeros_like(means[some])
            total = np.zeros(len(pixels), np.float32)
            for step in steps:
                # Beyond the picture's end lies its other end, where no patch has weight.
                patch = (pixels - step) % self.hole.size
                weight = weights[patch]
                sums += weight[:, None] * flat[taken[patch] + step]
                total += weight
            means[some] = sums / total[:, None]

        self.shared.each(mean, len(missing), VOTED)
        flat[missing] = means

    def _take(self, candidates: Indices) -> None:
        """Takes those that are wholly known and nearer than what there is."""
        index = np.flatnonzero(self.is_whole[candidates] & (candidates != self.sources))
        distances = self._distances(index, candidates[index])
        nearer = distances < self.distances[index]
        index = index[nearer]
        self.sources[index] = candidates[index]
        self.distances[index] = distances[nearer]

    def _distances(self, index: Indices, sources: Indices) -> Floats:
        """Squared distances of some targets from sources, each pixel weighted by the confidence in the target's."""
        distances, targets = np.empty(len(index), np.float32), self.targets[index]

        def compare(some: slice) -> None:
            row, column = np.divmod(targets[some], self.width)
            down, right = np.divmod(sources[some], self.width)
            apart = self.patches[row - RADIUS, column - RADIUS]
            apart -= self.patches[down - RADIUS, right - RADIUS]
            apart *= self.weights[row - RADIUS, column - RADIUS]
            np.einsum("nij,nij->n", apart, apart, out=distances[some])

        self.shared.each(compare, len(index), CHUNK)
        return distances / self.totals[index]


def _patches(values: Floats) -> Floats:
    """(h, w, C), contiguous -> (h - 6, w - 6, 7, 7 C), a view: the rows of the patch around each inner pixel."""
    height, width, channels = values.shape
    down, right, single = values.strides
    shape = height - 2 * RADIUS, width - 2 * RADIUS, SIDE, SIDE * channels
    return as_strided(values, shape, (down, right, down, single), writeable=False)


def _depth(hole: Bools) -> Floats:
    """Distance in px of each missing pixel to the next known one; 0 where it is known."""
    depth = cv2.distanceTransform(hole.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.minimum(depth, math.hypot(*hole.shape)).astype(np.float32)


def _texture(rgb: Floats, hole: Bools) -> Floats:
    """(h, w, 2): how much the known pixels around each change from one to the next, downwards and to the right."""
    means = []
    for order in ((0, 1, 2), (1, 0, 2)):
        lines, known = rgb.transpose(order), ~hole.transpose(order[:2])
        both = (known[1:] & known[:-1]).astype(np.float32)
        change = np.abs(lines[1:] - lines[:-1]).mean(axis=2) * both
        mean = cv2.blur(change, (AROUND, AROUND)) / np.maximum(cv2.blur(both, (AROUND, AROUND)), 1e-6)
        means.append(np.pad(mean, ((0, 1), (0, 0)), "edge").transpose(order[:2]))
    return np.dstack(means) * np.float32(TEXTURE)


def _halved(values: Floats, hole: Bools) -> tuple[Floats, Bools]:
    return mean_of_known(values, hole), windows.shrink(hole)


def _smooth(values: Floats, hole: Bools) -> Floats:
    """What is missing from half the size, and there from half of that, and so on."""
    return _completed(values, hole, _smooth(*_halved(values, hole))) if hole.any() else values


def _completed(values: Floats, hole: Bools, smaller: Floats) -> Floats:
    """What is missing from a picture of half the size."""
    doubled = cv2.resize(
        smaller, (2 * smaller.shape[1], 2 * smaller.shape[0]), interpolation=cv2.INTER_LINEAR
    )
    return np.where(hole[..., None], doubled[: hole.shape[0], : hole.shape[1]], values)
