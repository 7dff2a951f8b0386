"""The training data: indices, crops, holes, and an order that does not depend on workers or processes."""

import itertools
import multiprocessing
import signal
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from files import avif, heic, write_shard
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from retouch import sources
from retouch.errors import DataError, TrainingError
from retouch.photo import SUFFIXES
from retouch.training import data
from retouch.training.settings import Settings

KINDS = {"strokes": 0.5, "boxes": 0.5}


def encode(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    done, encoded = cv2.imencode(suffix, pixels[..., ::-1])
    assert done
    return encoded.tobytes()


def picture(seed: int, height: int = 24, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of seven photos: three files, one of them in a folder below, and a shard of four."""
    kept = tmp_path / "photos"
    (kept / "below").mkdir(parents=True)
    (kept / "a.png").write_bytes(encode(picture(0)))
    (kept / "b.WEBP").write_bytes(encode(picture(1), ".webp"))
    (kept / "below" / "c.jpg").write_bytes(encode(picture(2, 30, 40), ".jpg"))
    (kept / "notes.txt").write_text("not a photo")
    members = {f"{n:06d}.png": encode(picture(n)) for n in range(3, 7)}
    write_shard(kept / "d.tar", {**members, "000003.json": b"{}"})
    return kept


def photos(folder: Path, stream: int = data.TRAINING, **changes: object) -> data.Photos:
    known = {"size": 16, "zoom": 1.5, "masks": ("strokes=0.5", "boxes=0.5"), "ratio": (0.1, 0.4)}
    asked = Settings(data=(str(folder),), output=folder, **{**known, **changes})  # type: ignore[arg-type]
    return data.Photos(sources.index(asked.data), asked, stream)


def take(kept: data.Photos, count: int, **options: int) -> list[data.Batch]:
    with closing(data.batches(kept, **{"start": 0, "batch": 4, **options})) as feed:
        return list(itertools.islice(feed, count))


def same(one: list[data.Batch], other: list[data.Batch]) -> bool:
    pairs = zip(itertools.chain(*one), itertools.chain(*other), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# index and decode


def test_index_lists_files_and_shards_by_name(folder: Path) -> None:
    found = [(Path(source.path).name, source.name) for source in sources.index((str(folder),))]
    files = [("a.png", ""), ("b.WEBP", ""), ("c.jpg", "")]
    assert sorted(found) == [*files, *(("d.tar", f"{n:06d}.png") for n in range(3, 7))]


def test_every_suffix_of_a_format_that_is_read_counts(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        (tmp_path / f"a{suffix.upper()}").touch()
    (tmp_path / "a.txt").touch()
    assert len(sources.index((str(tmp_path),))) == len(SUFFIXES) == 14


def test_every_photo_decodes_to_what_was_written(folder: Path) -> None:
    for source in sources.index((str(folder),)):
        pixels = data.decode(source)
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
        if source.name:
            np.testing.assert_array_equal(pixels, picture(int(Path(source.name).stem)))


@pytest.mark.parametrize("make", [avif, heic])
def test_photos_of_telephones_are_upright(make, tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    source = np.zeros((40, 60, 3), np.uint8)
    source[:20] = 200  # what is above goes to the right
    (tmp_path / "a.heic").write_bytes(make(Image.fromarray(source), exif=tags.tobytes()))
    (source_of,) = sources.index((str(tmp_path),))
    pixels = data.decode(source_of)
    assert pixels.shape == (60, 40, 3) and pixels.dtype == np.uint8
    assert pixels[:, 25:].min() > 150 and pixels[:, :15].max() < 50
    (tmp_path / "a.heic").write_bytes(make(Image.fromarray(source))[:300])
    with pytest.raises(TrainingError, match=r"^expected a whole picture, got a damaged one: \S*a\.heic \(.*"):
        data.decode(source_of)


@pytest.mark.parametrize("pattern", ["", "/d.tar", "/*.tar", "/a.png", "/**/*.jpg"])
def test_times_repeats_each_photo(folder: Path, pattern: str) -> None:
    once = sources.index((f"{folder}{pattern}",))
    assert sorted(sources.index((f"{folder}{pattern}=3",)), key=repr) == sorted(once * 3, key=repr)


def test_masks_and_hidden_members_of_a_shard_are_no_photos(tmp_path: Path) -> None:
    members = ("0.png", "0.mask.png", "._0.png", "a/1.PNG", "a/1.mask.PNG")
    path = write_shard(tmp_path / "a.tar", {name: encode(picture(0)) for name in members})
    assert [source.name for source in sources.index((str(path),))] == ["0.png", "a/1.PNG"]


def test_a_mask_beside_its_photo_is_no_photo(tmp_path: Path) -> None:
    for name in ("a.png", "a.mask.png", "b.mask.png"):
        (tmp_path / name).write_bytes(encode(picture(0)))
    found = [Path(source.path).name for source in sources.index((str(tmp_path),))]
    assert found == ["a.png", "b.mask.png"]


def test_what_the_work_writes_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert len(sources.index((".",), beside=["below"])) == 6
    assert len(sources.index(("./below", "a.png"), beside=["below"])) == 2
    assert len(sources.index((".",), beside=["."])) == 7


def test_what_the_work_writes_is_left_out_through_links(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert len(sources.index((str(tmp_path / "link"),), beside=[folder / "below"])) == 6
    assert len(sources.index((str(folder),), beside=[tmp_path / "link" / "below"])) == 6


def test_what_another_evaluation_or_run_wrote_is_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be measured, or learned from, and the earlier one could not go on: its photos would be others."""
    monkeypatch.chdir(folder)
    before = sources.index((".",))
    for name, line in (("a/results.jsonl", '{"format": 1, '), ("b/c/stats.jsonl", '{"step": 20, ')):
        for picture in ("original.png", "samples/00001000.png"):
            path = Path(name).parent / picture
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        Path(name).write_text(line)
    assert sources.index((".",)) == before
    assert len(sources.index(("a", "b/c/samples"))) == 3  # asked for
    Path("a/results.jsonl").write_text('{"name": "of somebody else"}')
    assert len(sources.index((".",))) == len(before) + 2


def test_a_path_with_an_equals_sign_is_a_path(folder: Path, tmp_path: Path) -> None:
    odd = folder.rename(tmp_path / "size=16")
    assert len(sources.index((str(odd),))) == 7
    assert len(sources.index((f"{odd}=2",))) == 14


def test_a_path_alone_is_no_sequence_of_its_letters(folder: Path) -> None:
    with pytest.raises(DataError, match=rf"^expected a sequence of paths, got '{folder}' alone$"):
        sources.index(str(folder))


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ((), "at least one folder"),
        (("{}/nowhere",), "no such file"),
        (("{}/*.gif",), "no such file"),
        (("{}/notes.txt",), "got none"),
        (("{}=0",), "N >= 1"),
        (("{}=-1",), "N >= 1"),
        (("{}=two",), "N >= 1"),
        (("{}/broken.tar",), "broken.tar: expected a tar shard"),
    ],
)
def test_index_names_what_is_wrong(folder: Path, specs: tuple[str, ...], words: str) -> None:
    (folder / "broken.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(DataError) as caught:
        sources.index(tuple(spec.format(folder) for spec in specs))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_cut_off_shard_is_refused(folder: Path) -> None:
    whole = (folder / "d.tar").read_bytes()
    (folder / "d.tar").write_bytes(whole[: sources.index((f"{folder}/d.tar",))[-1].offset + 10])
    with pytest.raises((DataError, TrainingError), match=r"d\.tar"):
        for source in sources.index((f"{folder}/d.tar",)):
            data.decode(source)


@pytest.mark.parametrize("what", ["cut short", "damaged"])
def test_a_shard_does_not_end_at_a_header_that_is_damaged(what: str, folder: Path) -> None:
    shard = folder / "d.tar"
    whole = shard.read_bytes()
    header = sources.index((str(shard),))[2].offset - tarfile.BLOCKSIZE
    rest = b"" if what == "cut short" else b"\xff" * 100 + whole[header + 200 :]
    shard.write_bytes(whole[: header + 100] + rest)
    with pytest.raises(
        DataError, match=rf"d\.tar: expected a tar shard .*, got no header at byte {header:,}$"
    ):
        sources.index((str(shard),))
    shard.write_bytes(whole[:header])  # closed without its end, which nothing misses
    assert len(sources.index((str(shard),))) == 2


def test_grey_alpha_and_sixteen_bits_become_rgb(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    files = {
        "grey.png": grey,
        "alpha.png": np.dstack([grey, grey, grey, 255 - grey]),
        "deep.png": grey.astype(np.uint16) * 257,
    }
    for name, pixels in files.items():
        assert cv2.imwrite(str(tmp_path / name), pixels)
        decoded = data.decode(sources.index((str(tmp_path / name),))[0])
        np.testing.assert_array_equal(decoded, np.dstack([grey] * 3))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_photo_is_named_in_one_line(tmp_path: Path, workers: int) -> None:
    write_shard(tmp_path / "bad.tar", {"000007.jpg": b"\xff\xd8 cut off"})
    with pytest.raises(TrainingError) as caught:
        take(photos(tmp_path), 2, workers=workers, batch=2)
    assert "bad.tar: 000007.jpg" in str(caught.value) and "\n" not in str(caught.value)


def damage(folder: Path) -> tuple[Path, int]:
    """Cuts one photo of the folder in half; gives the file and its position in the first epoch."""
    file = folder / "a.png"
    file.write_bytes(file.read_bytes()[:300])
    paths = [source.path for source in sources.index((str(folder),))]
    return file, data._order(len(paths), 0, 0).tolist().index(paths.index(str(file)))


def test_the_next_photo_stands_for_one_that_cannot_be_read(folder: Path) -> None:
    _, position = damage(folder)
    kept = photos(folder, zoom=1.0, mirror=False)
    order = data._order(7, 0, 0)
    following = data.decode(kept.sources[order[(position + 1) % 7]])
    rng = np.random.default_rng((0, 0, position, data.TRAINING))
    expected = data.crop(following, 16, 1.0, rng, mirror=False)
    np.testing.assert_array_equal(kept[position][0].permute(1, 2, 0).numpy(), expected)


def test_a_photo_that_cannot_be_read_is_said_once(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file, _ = damage(folder)
    whole = take(photos(folder), 6)  # more than three epochs
    (line,) = capfd.readouterr().err.splitlines()
    assert line == f"left out: {file}: expected a photo, got 300 bytes that do not decode"
    assert same(whole, take(photos(folder), 6, workers=1))
    assert capfd.readouterr().err.splitlines() == [line]
    assert same(whole[4:], take(photos(folder), 2, start=16))
    parts = [take(photos(folder), 6, rank=rank, processes=2) for rank in range(2)]
    joined = [tuple(torch.cat(pair) for pair in zip(a, b, strict=True)) for a, b in zip(*parts, strict=True)]
    assert same(whole, joined)  # type: ignore[arg-type]


def test_many_photos_in_a_row_that_cannot_be_read_end_a_run(tmp_path: Path) -> None:
    members = {f"{n:06d}.png": b"not a photo" for n in range(30)}
    write_shard(tmp_path / "bad.tar", members | {"000030.png": encode(picture(0))})
    with pytest.raises(
        TrainingError, match=r"bad\.tar: .*expected a photo.*in a row that cannot be read: 20\)$"
    ):
        take(photos(tmp_path), 8)


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(TrainingError, match=r"empty\.png: expected a photo"):
        data.decode(sources.index((str(tmp_path),))[0])


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (("set",), ["a/x.png", "b/s.tar/./1.png", "b/s.tar/2.png", "b/x.png"]),
        (("./set/",), ["a/x.png", "b/s.tar/./1.png", "b/s.tar/2.png", "b/x.png"]),
        (("set/b/s.tar",), ["./1.png", "2.png"]),
        (("set/a/x.png",), ["x.png"]),
        (("set/*/x.png",), ["a/x.png", "b/x.png"]),
        (("set/*/*.tar", "set/a=1"), ["b/s.tar/./1.png", "b/s.tar/2.png", "a/x.png"]),
        (("[set]",), ["x.png"]),
    ],
)
def test_names_tell_photos_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: tuple[str, ...], names: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("set/a/x.png", "set/b/x.png", "[set]/x.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")
    with tarfile.open("set/b/s.tar", "w") as shard:
        for name in ("./1.png", "2.png"):
            shard.addfile(tarfile.TarInfo(name))
    assert sources.names(sources.index(data), data) == names


def test_fingerprint_follows_names_and_not_places(folder: Path, tmp_path: Path) -> None:
    before = sources.fingerprint(sources.index((str(folder),)))
    moved = folder.rename(tmp_path / "moved")
    assert sources.fingerprint(sources.index((str(moved),))) == before
    (moved / "a.png").rename(moved / "z.png")
    assert sources.fingerprint(sources.index((str(moved),))) != before
    (moved / "z.png").rename(moved / "a.png")
    with (moved / "a.png").open("ab") as file:
        file.write(b"longer")
    assert sources.fingerprint(sources.index((str(moved),))) != before


# crops and holes


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    size=st.integers(8, 32),
    zoom=st.floats(1, 5),
    jitter=st.none() | st.floats(0, 0.99),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None)
def test_crop_has_its_size_and_the_photos_range(
    height: int, width: int, size: int, zoom: float, jitter: float | None, seed: int
) -> None:
    photo = np.full((height, width, 3), (10, 120, 250), np.uint8)
    rng = np.random.default_rng(seed)
    square = data.crop(photo, size, zoom, rng, whole=jitter is not None, jitter=jitter or 0)
    assert square.dtype == np.uint8 and square.flags.c_contiguous
    np.testing.assert_array_equal(square, np.full((size, size, 3), (10, 120, 250), np.uint8))


def test_crop_at_zoom_one_is_a_part_of_the_photo_mirrored_or_not() -> None:
    photo = np.arange(20 * 30 * 3, dtype=np.uint32).astype(np.uint8).reshape(20, 30, 3)
    photo[..., 0], photo[..., 1] = np.arange(30), np.arange(20)[:, None]
    seen = set()
    for seed in range(200):
        square = data.crop(photo, 16, 1.0, np.random.default_rng(seed))
        mirrored = bool(square[0, 0, 0] > square[0, 1, 0])
        plain = square[:, ::-1] if mirrored else square
        left, top = plain[0, 0, :2]
        np.testing.assert_array_equal(plain, photo[top : top + 16, left : left + 16])
        seen.add((mirrored, int(left), int(top)))
    assert {mirrored for mirrored, _, _ in seen} == {False, True}
    assert {left for _, left, _ in seen} == set(range(15)) and {top for _, _, top in seen} == set(range(5))


def test_crop_reaches_the_zoom_and_no_further() -> None:
    photo = np.zeros((100, 100, 3), np.uint8)
    photo[..., 0] = np.arange(100)
    spans = [int(np.ptp(data.crop(photo, 16, 3.0, np.random.default_rng(n))[..., 0])) for n in range(300)]
    assert 14 <= min(spans) <= 16 and 40 <= max(spans) <= 48


@pytest.mark.parametrize(("height", "width"), [(40, 40), (40, 61), (55, 40)])
def test_whole_photos_are_their_largest_square_reduced(height: int, width: int) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    top, left = (height - 40) // 2, (width - 40) // 2
    square = photo[top : top + 40, left : left + 40]
    expected = square.reshape(20, 2, 20, 2, 3).mean((1, 3))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        got = data.crop(photo, 20, 1.0, rng, whole=True, mirror=False)
        assert np.abs(got - expected).max() <= 0.5


def test_jitter_takes_squares_of_all_sizes_and_places_inside_the_largest() -> None:
    photo = np.zeros((100, 140, 3), np.uint8)
    photo[..., 0], photo[..., 1] = np.arange(140), np.arange(100)[:, None]
    squares = [
        data.crop(photo, 100, 1.0, np.random.default_rng(n), whole=True, jitter=0.2, mirror=False)
        for n in range(300)
    ]
    left, right, top = (
        np.array([int(s[i, j, c]) for s in squares]) for i, j, c in [(0, 0, 0), (0, -1, 0), (0, 0, 1)]
    )
    assert left.min() == 20 and right.max() == 119 and top.min() == 0  # the largest one is columns 20 to 119
    assert 79 <= (right - left).min() <= 81 and (right - left).max() == 99
    assert left.max() >= 35 and top.max() >= 15 and len(set(zip(left, top, strict=True))) > 100


def test_a_share_of_the_crops_is_jittered_and_the_others_are_whole() -> None:
    photo = np.zeros((60, 60, 3), np.uint8)
    photo[..., 0] = np.arange(60)
    whole = data.crop(photo, 40, 1.0, np.random.default_rng(0), whole=True, mirror=False)
    squares = [
        data.crop(
            photo, 40, 1.0, np.random.default_rng(n), whole=True, jitter=0.5, jittered=0.3, mirror=False
        )
        for n in range(1000)
    ]
    assert 260 <= sum(not np.array_equal(square, whole) for square in squares) <= 340


def test_colour_multiplies_each_channel_and_stays_in_range() -> None:
    photo = np.full((20, 20, 3), (100, 100, 250), np.uint8)
    squares = [data.crop(photo, 16, 1.0, np.random.default_rng(n), colour=0.2) for n in range(200)]
    assert all((square == square[0, 0]).all() for square in squares)
    red, green, blue = np.array([square[0, 0] for square in squares], int).T
    assert {red.min(), green.min()} <= {80, 81} and {red.max(), green.max()} <= {119, 120}
    assert blue.min() <= 203 and blue.max() == 255
    assert abs(np.corrcoef(red, green)[0, 1]) < 0.2


def test_mirroring_can_be_left_out_and_changes_nothing_else() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
    turned = 0
    for seed in range(40):
        plain, mirrored = (
            data.crop(photo, 16, 1.5, np.random.default_rng(seed), mirror=mirror) for mirror in (False, True)
        )
        turned += np.array_equal(mirrored, plain[:, ::-1]) and not np.array_equal(mirrored, plain)
        assert np.array_equal(mirrored, plain) or np.array_equal(mirrored, plain[:, ::-1])
    assert 8 < turned < 32


@pytest.mark.parametrize("canvas", [32, 64])
def test_hole_has_its_size_and_share(canvas: int) -> None:
    for seed in range(40):
        drawn = data.hole(KINDS, (0.1, 0.3), 32, canvas, np.random.default_rng(seed))
        assert drawn.shape == (32, 32) and drawn.dtype == bool
        least, most = (0.1, 0.3) if canvas == 32 else data.SHARES
        assert least <= drawn.mean() <= most


def test_hole_kinds_follow_their_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[str] = []

    def draw(kind: str, height: int, width: int, **_: object) -> np.ndarray:
        kinds.append(kind)
        return np.eye(height, width, dtype=bool)

    monkeypatch.setattr(data.masks, "draw", draw)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        data.hole({"strokes": 3, "boxes": 1}, (0.1, 0.3), 16, 16, rng)
    assert abs(kinds.count("strokes") / 2000 - 0.75) < 0.04


def test_hole_that_cannot_be_had_is_an_error() -> None:
    with pytest.raises(TrainingError, match="in 200 draws"):
        data.hole(KINDS, (0.001, 0.002), 16, 32, np.random.default_rng(0))


# order and batches


@given(count=st.integers(1, 50), seed=st.integers(0, 2**32), epoch=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_an_epoch_shows_every_photo_once(count: int, seed: int, epoch: int) -> None:
    assert sorted(data._order(count, seed, epoch)) == list(range(count))


def test_epochs_seeds_and_streams_differ(folder: Path) -> None:
    first, again = photos(folder), photos(folder)
    assert same([first[3]], [again[3]])
    assert not np.array_equal(data._order(50, 0, 0), data._order(50, 0, 1))
    for other in (first[3 + 7], photos(folder, seed=1)[3], photos(folder, stream=data.SAMPLES)[3]):
        assert not same([first[3]], [other])


def test_samples_have_the_stated_types(folder: Path) -> None:
    image, hole = photos(folder)[0]
    assert image.shape == (3, 16, 16) and image.dtype == torch.uint8 and image.is_contiguous()
    assert hole.shape == (1, 16, 16) and hole.dtype == torch.bool and 0.1 <= hole.float().mean() <= 0.4


def test_a_decoding_process_that_dies_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def died(self: object) -> None:
        raise RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")

    monkeypatch.setattr("torch.utils.data.dataloader._SingleProcessDataLoaderIter._next_data", died)
    with pytest.raises(TrainingError, match="decoding processes to live, got one that died") as caught:
        take(photos(folder), 1)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than this machine has cores
@pytest.mark.parametrize("workers", [1, 3])
def test_batches_are_the_same_whatever_the_workers(folder: Path, workers: int) -> None:
    kept = photos(folder)
    assert same(take(kept, 5), take(kept, 5, workers=workers))
    assert not multiprocessing.active_children()  # the workers have ended


def test_an_interrupt_waits_until_the_decoding_processes_have_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end the process that forks them, and the run with a traceback."""
    put_off = data.put_off

    @contextmanager
    def interrupted() -> Iterator[None]:
        with put_off():
            signal.raise_signal(signal.SIGINT)
            yield

    monkeypatch.setattr(data, "put_off", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            take(photos(folder), 1, workers=1)
    finally:
        signal.signal(signal.SIGINT, before)


def test_batches_go_on_at_any_sample(folder: Path) -> None:
    kept = photos(folder)
    assert same(take(kept, 6)[4:], take(kept, 2, start=16))


def test_processes_share_a_batch_without_overlap_or_loss(folder: Path) -> None:
    kept = photos(folder)
    whole = take(kept, 5)
    parts = [take(kept, 5, rank=rank, processes=2) for rank in range(2)]
    joined = [tuple(torch.cat(pair) for pair in zip(a, b, strict=True)) for a, b in zip(*parts, strict=True)]
    assert same(whole, joined)  # type: ignore[arg-type]


def test_numbers_cover_every_sample_once() -> None:
    shares = [itertools.islice(data.Numbers(40, 12, rank, 3), 5) for rank in range(3)]
    seen = [number for share in shares for numbers in share for number in numbers]
    assert sorted(seen) == list(range(40, 100))
