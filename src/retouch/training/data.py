"""Photographs and holes for training: an index of them -> batches, by random access.

The shards of `sources` have WebDataset's layout, but its streaming pipeline cannot be continued in the middle
bit for bit, nor split over processes without overlap. Here the order of the photos is a pure function of
(seed, epoch), and every crop, mirror and hole one of (seed, epoch, position). To go on at sample n is to start
at sample n, whatever the number of workers or devices.
"""

import io
import signal
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from retouch import image as images
from retouch import masks, quiet
from retouch.decode import kind_of
from retouch.errors import ImageError, RetouchError, TrainingError
from retouch.sources import Source, read_bytes
from retouch.terminal import one_line
from retouch.training.settings import Settings
from retouch.workers import end_with_parent, put_off, unforked

SHARES = (0.01, 0.9)  # of a training crop that its hole may take, where it was cut from a larger canvas
DRAWS = 200  # tries for such a hole before giving up
GRACE = 10  # seconds that a decoding process outlives SIGTERM, so that the loop can finish its step
TRAINING, SAMPLES, VALIDATION = 0, 1, 2  # streams of randomness: what is trained on, shown in grids, measured

TRIES = 20  # photos in a row that cannot be read, at which a run ends

Batch = tuple[Tensor, Tensor]  # images and holes
Sample = tuple[Tensor, Tensor, list[str]]  # image, hole, and what is wrong with photos that were left out


def decode(source: Source) -> np.ndarray:
    """Reads one photo as (H, W, 3) uint8 RGB, EXIF orientation applied, alpha dropped.

    Raises:
        TrainingError: unreadable; names the file, and the shard that holds it. OpenCV's own words are kept off the
            screen.
    """
    try:
        data = read_bytes(source)
        if kind_of(data) in ("AVIF", "HEIC"):  # of which OpenCV reads but one, and turns none upright
            file = io.BytesIO(data)
            file.name = source.label  # for what is wrong with it
            return np.asarray(images.to_pil(images.read(file)).convert("RGB"))
        with quiet.opencv:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    except ImageError as error:
        raise TrainingError(str(error)) from error
    except (OSError, cv2.error) as error:
        raise TrainingError(f"{source.label}: expected a photo, got {error}") from error
    if pixels is None:
        raise TrainingError(f"{source.label}: expected a photo, got {len(data)} bytes that do not decode")
    return np.asarray(pixels, np.uint8)


def crop(
    photo: np.ndarray,
    size: int,
    zoom: float,
    rng: np.random.Generator,
    *,
    whole: bool = False,
    jitter: float = 0.0,
    jittered: float = 1.0,
    colour: float = 0.0,
    mirror: bool = True,
) -> np.ndarray:
    """A random square of a photo, (H, W, 3) uint8 -> (size, size, 3) uint8, mirrored with probability 1/2.

    The square's side is drawn from [size, max(size, zoom * size)], as far as the photo allows, and resized by
    area; a photo whose shorter side is below ``size`` is enlarged to it first (Lanczos). With ``whole`` it is
    always the largest one, from the photo's middle, and with ``jitter``, in a share ``jittered`` of the crops, one
    inside that, its side shorter by up to ``jitter``. With ``colour`` each channel is multiplied by a factor from
    1 - ``colour`` to 1 + ``colour``. Without ``mirror`` nothing is mirrored.
    """
    height, width = photo.shape[:2]
    if min(height, width) < size:
        scale = size / min(height, width)
        height, width = max(size, round(height * scale)), max(size, round(width * scale))
        photo = cv2.resize(photo, (width, height), interpolation=cv2.INTER_LANCZOS4)
    largest = min(max(size, round(zoom * size)), height, width)
    side = int(rng.integers(size, largest + 1))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    if whole:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        if jitter and (jittered == 1 or rng.random() < jittered):
            inner = max(1, round(side * (1 - jitter * rng.random())))
            top, left = top + int(rng.integers(side - inner + 1)), left + int(rng.integers(side - inner + 1))
            side = inner
    square = photo[top : top + side, left : left + side]
    if side != size:
        how = cv2.INTER_AREA if side > size else cv2.INTER_LANCZOS4
        square = cv2.resize(square, (size, size), interpolation=how)
    if colour:
        factors = rng.uniform(1 - colour, 1 + colour, 3)
        square = np.clip(np.rint(square * factors), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(square[:, ::-1] if mirror and rng.random() < 0.5 else square)


def hole(
    kinds: Mapping[str, float],
    ratio: tuple[float, float],
    size: int,
    canvas: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """A random hole, (size, size) bool, True = missing.

    Args:
        kinds: kind of mask -> weight; one is drawn.
        ratio: share of the canvas that the hole takes.
        size: side of the hole, in pixels.
        canvas: side of the square that it is drawn on; where larger than ``size``, a random part is cut out,
            and drawn again while the hole takes less than 1 % or more than 90 % of it.

    Raises:
        TrainingError: no such part in ``DRAWS`` tries: the ratio is too small or too large.
    """
    weights = np.array(list(kinds.values()), np.float64)
    for _ in range(DRAWS):
        kind = list(kinds)[int(rng.choice(len(weights), p=weights / weights.sum()))]
        drawn = masks.draw(kind, canvas, canvas, ratio=ratio, seed=rng)
        if canvas == size:
            return drawn
        top, left = rng.integers(canvas - size + 1, size=2)
        part = drawn[top : top + size, left : left + size]
        if SHARES[0] <= part.mean() <= SHARES[1]:
            return part
    raise TrainingError(
        f"expected holes of {SHARES[0]:.0%} to {SHARES[1]:.0%} of a crop, got none in {DRAWS} draws at ratio "
        f"{ratio[0]:g}-{ratio[1]:g}"
    )


@lru_cache(maxsize=2)
def _order(photos: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(photos)


@dataclass(frozen=True)
class Photos(Dataset[Batch]):
    """The samples of a training run by number: sample n is photo ``n % photos`` of epoch ``n // photos``.

    A sample is an image (3, size, size) uint8 RGB and a hole (1, size, size) bool, True = missing. For a photo that
    cannot be read stands the next one of the epoch, in every process and whenever the sample is drawn.
    """

    sources: tuple[Source, ...]
    settings: Settings
    stream: int = TRAINING

    def __getitem__(self, number: int) -> Batch:
        image, missing, _ = self.sample(number)
        return image, missing

    def sample(self, number: int) -> Sample:
        """One sample, and a line for each photo that was left out.

        Raises:
            TrainingError: ``TRIES`` photos in a row that cannot be read; a hole that cannot be drawn.
        """
        asked = self.settings
        epoch, position = divmod(number, len(self.sources))
        photo, left_out = self._readable(epoch, position)
        rng = np.random.default_rng((asked.seed, epoch, position, self.stream))
        image = crop(
            photo, asked.size, asked.zoom, rng,
            whole=asked.whole, jitter=asked.jitter, jittered=asked.jittered, colour=asked.colour, mirror=asked.mirror,
        )  # fmt: skip
        missing = hole(asked.kinds(), asked.ratio, asked.size, asked.mask_size or asked.size, rng)
        pixels = torch.from_numpy(image).permute(2, 0, 1).contiguous()
        return pixels, torch.from_numpy(missing[None].copy()), left_out

    def _readable(self, epoch: int, position: int) -> tuple[np.ndarray, list[str]]:
        """The photo at a position of an epoch's order or the next one that can be read, and why others cannot."""
        count, left_out = len(self.sources), list[str]()
        order = _order(count, self.settings.seed, epoch)
        for place in range(position, position + min(TRIES, count)):
            try:
                return decode(self.sources[order[place % count]]), left_out
            except TrainingError as error:
                left_out.append(str(error))
        raise TrainingError(f"{left_out[0]} (photos in a row that cannot be read: {len(left_out)})")

    def __getitems__(self, numbers: list[int]) -> list[Sample] | TrainingError:
        """A batch at once, for the loader; an error is a value: workers wrap what is raised in a trace."""
        try:
            return [self.sample(number) for number in numbers]
        except RetouchError as error:
            return error if isinstance(error, TrainingError) else TrainingError(str(error))


def damaged(photos: Photos, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The first samples as a network gets them: (1, 3, size, size) in [0, 1], 0 where missing, and their holes."""
    samples = []
    for number in range(count):
        image, hole = photos[number]
        samples.append(((image[None].float() / 255 * ~hole).numpy(), hole[None].float().numpy()))
    return samples


def _collate(samples: list[Sample] | TrainingError) -> Sample | TrainingError:
    if isinstance(samples, TrainingError):
        return samples
    images, holes, left_out = zip(*samples, strict=True)
    return torch.stack(images), torch.stack(holes), list(chain(*left_out))


@dataclass(frozen=True)
class Numbers(Sampler[list[int]]):
    """The sample numbers of this process's part of every batch, from sample ``start`` on, without end."""

    start: int
    batch: int
    rank: int
    processes: int

    def __iter__(self) -> Iterator[list[int]]:
        share = self.batch // self.processes
        first = self.start + self.rank * share
        while True:
            yield list(range(first, first + share))
            first += self.batch


def _begun(loader: DataLoader[Batch]) -> Iterator[Any]:
    with put_off() if loader.num_workers else nullcontext():
        return iter(loader)  # which starts the processes


def _worker(_: int) -> None:
    # A signal to the whole group of processes reaches the workers too, while the loop wants to finish its
    # step and to end them itself. SIGTERM is only put off: an exiting interpreter sends it, and then waits.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    end_with_parent()


def batches(
    photos: Photos,
    *,
    start: int,
    batch: int,
    rank: int = 0,
    processes: int = 1,
    workers: int = 0,
    pin: bool = False,
) -> Generator[Batch, None, None]:
    """Batches without end: (b, 3, size, size) uint8 and (b, 1, size, size) bool, b = ``batch // processes``.

    Photos that cannot be read, for which others stand, are said on the standard error, each once.

    Args:
        photos: the samples.
        start: number of the first sample: the images that the run has seen.
        batch: samples of one step, over all processes; a multiple of ``processes``.
        rank: which of the processes this is.
        processes: how many share a batch.
        workers: subprocesses that decode; 0 decodes in this one. Batches are the same whatever the number.
        pin: to page-locked memory, for a GPU.

    Raises:
        TrainingError: while iterating: photos none of which can be read, a hole that cannot be drawn, a subprocess
            that died.
    """
    loader = DataLoader(
        photos,
        batch_sampler=Numbers(start, batch, rank, processes),
        collate_fn=_collate,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_worker if workers else None,
        multiprocessing_context=unforked(__name__) if workers else None,
        prefetch_factor=4 if workers else None,
    )
    said = set[str]()
    try:
        for made in _begun(loader):
            if isinstance(made, TrainingError):
                raise made
            images, holes, left_out = made
            for line in left_out:
                if line not in said:
                    print(f"left out: {one_line(line)}", file=sys.stderr, flush=True)
                said.add(line)
            yield images, holes
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            "expected the decoding processes to live, got one that died (no memory left?): the last checkpoint "
            "is whole, --resume goes on from it, perhaps with fewer --workers"
        ) from error
