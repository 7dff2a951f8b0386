"""What the picture libraries say is kept off the screen, in several threads at once, and nothing else is."""

import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from retouch import formats, image, quiet


def in_threads(work: Callable[[], object], count: int = 6) -> None:
    threads = [threading.Thread(target=lambda: [work() for _ in range(30)]) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_settings_are_put_back_whichever_thread_is_last(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 1 << 16, (64, 64, 3)).astype(np.uint16)
    image.write(image.read(pixels), tmp_path / "deep.png")
    level, filters = cv2.utils.logging.getLogLevel(), list(warnings.filters)
    text = PngImagePlugin.MAX_TEXT_CHUNK
    in_threads(lambda: image.read(tmp_path / "deep.png"))
    assert text == PngImagePlugin.MAX_TEXT_CHUNK == 1 << 20  # as others who use Pillow here have it
    assert cv2.utils.logging.getLogLevel() == level
    assert warnings.filters == filters


def test_a_picture_that_takes_its_time_keeps_no_other_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "slow.tif")
    Image.new("RGB", (8, 8)).save(tmp_path / "quick.png")
    begun, go_on, load = threading.Event(), threading.Event(), formats.loaded

    def loaded(picture: Image.Image) -> Image.Image:
        if picture.format == "TIFF":
            begun.set()
            assert go_on.wait(30)
        return load(picture)

    monkeypatch.setattr(formats, "loaded", loaded)
    slow = threading.Thread(target=image.read, args=(tmp_path / "slow.tif",))
    slow.start()
    assert begun.wait(30)
    quick = threading.Thread(target=image.read, args=(tmp_path / "quick.png",), daemon=True)
    quick.start()
    quick.join(10)
    waits = quick.is_alive()
    go_on.set()
    slow.join()
    assert not waits


def test_only_the_library_is_silenced() -> None:
    with quiet.pillow, pytest.warns(UserWarning, match="of ours"):
        warnings.warn("of ours", stacklevel=1)


def test_filters_that_others_set_meanwhile_stay() -> None:
    with warnings.catch_warnings():
        before = list(warnings.filters)
        with quiet.pillow:
            warnings.simplefilter("error", ResourceWarning)
            with warnings.catch_warnings(), quiet.pillow:
                pass
        assert list(warnings.filters) == [("error", None, ResourceWarning, None, 0), *before]


def test_a_filter_of_a_caller_that_is_like_ours_stays() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        before = list(warnings.filters)
        with quiet.pillow:
            pass
        assert list(warnings.filters) == before


def test_an_error_puts_settings_back() -> None:
    level = cv2.utils.logging.getLogLevel()
    with pytest.raises(KeyError), quiet.opencv, quiet.opencv:
        assert cv2.utils.logging.getLogLevel() == 0
        raise KeyError
    assert cv2.utils.logging.getLogLevel() == level
