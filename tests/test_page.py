"""The page in a real Chromium: what a person does, and what comes of it.

Needs Debian's package: ``apt-get install chromium``. Run as a program it makes the picture of the README:
``python tests/test_page.py docs/pictures/page.jpg``.
"""

import io
import itertools
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from files import avif, heic
from PIL import Image, ImageCms, ImageOps, PngImagePlugin
from scipy import ndimage

pytest.importorskip("fastapi")
sync_api = pytest.importorskip("playwright.sync_api")
import processes  # noqa: E402
from serving import Gated, Slow, idle, ready, serving, unwanted  # noqa: E402

from retouch import image as images  # noqa: E402
from retouch.cards import cards  # noqa: E402
from retouch.server.problems import CODES  # noqa: E402
from retouch.server.settings import Settings  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox",  # CI is root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP photos.example 127.0.0.1",
]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}


@contextmanager
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def site() -> Iterator[Any]:
    with serving() as site:
        ready(site)
        yield site


@contextmanager
def page_at(browser: Any, url: str, *, expected: tuple[str, ...] = (), **options: Any) -> Iterator[Any]:
    """A page that has loaded; in the end no script has failed and nothing was refused by its policy."""
    context = browser.new_context(**{"viewport": DESKTOP, "accept_downloads": True} | options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None)
    page.on("dialog", lambda dialog: dialog.accept())  # leaving with unsaved work asks
    page.goto(url)
    page.wait_for_selector("body[data-ready]", state="attached")
    yield page
    context.close()
    assert [line for line in wrong if not any(word in line for word in expected)] == []


@pytest.fixture
def page(browser, site):
    with page_at(browser, site.url) as page:
        yield page


def photo(width: int = 320, height: int = 240) -> Image.Image:
    """Smooth, with some noise: no pixel outside the hole could be guessed."""
    rng = np.random.default_rng(3)
    ramp = np.linspace(0, 200, width)[None, :, None] + np.zeros((height, 1, 3))
    return Image.fromarray((ramp + rng.integers(0, 50, ramp.shape)).astype(np.uint8))


def encoded(picture: Image.Image, kind: str = "png", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def open_photo(page: Any, data: bytes, name: str = "photo.png", kind: str = "image/png") -> None:
    page.set_input_files("#photo-file", {"name": name, "mimeType": kind, "buffer": data})
    page.wait_for_selector("#canvas:visible")
    page.wait_for_selector("#working", state="hidden")


def drag(page: Any, *points: tuple[float, float]) -> None:
    """Draws through points, given as parts of the stage's width and height."""
    box = page.locator("#canvas").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()


def downloaded(page: Any, *clicks: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        for click in clicks:
            page.click(click)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def mask_of(page: Any) -> np.ndarray:
    name, data = downloaded(page, "#mask-button", "[data-mask=download]")
    assert name.endswith("-mask.png")
    return np.asarray(Image.open(io.BytesIO(data)).convert("L")) >= 128


def result_of(page: Any) -> tuple[str, np.ndarray]:
    name, data = downloaded(page, "#download")
    return name, np.asarray(Image.open(io.BytesIO(data)))


def until(page: Any, script: str) -> None:
    """Waits for something; Playwright's own way needs ``eval``, which the page's policy forbids."""
    for _ in range(1000):
        if page.evaluate(script):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"never came true: {script}")


PICTURE = """async () => {
    const { view } = await import("/state.js");
    const { picture, width, height } = view.photo;
    const pen = new OffscreenCanvas(width, height).getContext("2d");
    pen.drawImage(picture, 0, 0, width, height);
    const { data } = pen.getImageData(0, 0, width, height);
    return [height, width, [...data].filter((_, i) => i % 4 === 0)];
}"""


def shown(page: Any) -> np.ndarray:
    """The red of the photo as the page shows it."""
    height, width, red = page.evaluate(PICTURE)
    return np.array(red).reshape(height, width)


def press(page: Any, x: float, y: float) -> None:
    """Puts the brush down and draws a little; the button stays down."""
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + (x + 0.1) * box["width"], box["y"] + y * box["height"], steps=4)


PASTE = """(bytes) => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
    dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
}"""


def paste(page: Any, data: bytes) -> None:
    page.evaluate(PASTE, list(data))


def fill(page: Any) -> None:
    before = page.locator("#versions li").count()
    page.click("#complete")
    until(page, f"document.querySelectorAll('#versions li').length > {max(1, before)}")
    page.wait_for_selector("#complete:enabled")


def test_paint_fill_compare_undo_and_download(page):
    """The ten seconds that the page is for."""
    known = photo()
    open_photo(page, encoded(known))
    drag(page, (0.4, 0.45), (0.6, 0.5), (0.55, 0.6))
    hole = mask_of(page)
    assert 0.005 < hole.mean() < 0.3
    fill(page)
    assert "telea" in page.inner_text("#notice")
    name, pixels = result_of(page)
    assert name == "photo-completed.png"
    assert np.array_equal(pixels[~hole], np.asarray(known)[~hole])
    assert not np.array_equal(pixels[hole], np.asarray(known)[hole])
    assert not mask_of(page).any()  # a fresh mask, to go on with

    page.click("#compare")
    divide = page.locator("#divide")
    assert divide.is_visible() and divide.evaluate("e => e === document.activeElement")
    box = page.locator("#stage").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    assert abs(int(divide.input_value()) - 250) < 20
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert divide.is_hidden()

    page.keyboard.press("Control+z")  # the result
    assert np.array_equal(mask_of(page), hole)
    assert np.array_equal(result_of(page)[1], np.asarray(known))
    page.keyboard.press("Control+z")  # the stroke
    assert not mask_of(page).any()
    page.keyboard.press("Control+Shift+z")
    page.keyboard.press("Control+y")
    assert np.array_equal(result_of(page)[1], pixels)


COUNTED = """async () => {
    const { most } = await import("/album.js");
    most.bytes = 1;
    window.alive = 0;
    const [real, close] = [window.createImageBitmap, ImageBitmap.prototype.close];
    window.createImageBitmap = async (...all) => (alive++, await real(...all));
    ImageBitmap.prototype.close = function () { alive--; close.call(this); };
}"""


@pytest.mark.parametrize("kind", ["jpeg", "tiff"])
def test_only_what_is_shown_is_kept_decoded(browser, site, kind):
    """With room for nothing else, undo, redo and the comparison show the right pictures all the same."""
    with page_at(browser, site.url) as page:
        page.evaluate(COUNTED)
        open_photo(page, encoded(photo(), kind), f"photo.{kind}", f"image/{kind}")
        is_sharp = "import('/state.js').then(({ view }) => view.photo.picture instanceof ImageBitmap)"
        pictures = [shown(page)]
        for left in (0.4, 0.5, 0.6):
            drag(page, (left, 0.5), (left + 0.05, 0.5))
            fill(page)
            pictures.append(shown(page))
            assert page.evaluate("alive") <= 2
        page.route("**/preview", lambda route: route.abort())  # no server is needed to look back
        page.click("#compare")
        until(page, "import('/state.js').then(({ view }) => view.before instanceof ImageBitmap)")
        assert page.evaluate("alive") == 2
        page.keyboard.press("Escape")
        for key, order in (("Control+z", pictures[-2::-1]), ("Control+y", pictures[1:])):
            for expected in order:
                for _ in range(2):  # the result and its stroke
                    page.keyboard.press(key)
                until(page, is_sharp)
                assert np.array_equal(shown(page), expected)
        for _ in range(6):  # faster than they are decoded
            page.keyboard.press("Control+z")
        until(page, is_sharp)
        assert np.array_equal(shown(page), pictures[0])
        until(page, "alive <= 2")


def test_clearing_the_mask_keeps_what_was_painted_alone(page):
    """Undo has the tiles of a stroke to keep, not those of a whole large photo."""
    open_photo(page, encoded(Image.new("RGB", (4000, 3000), "gray"), "jpeg"), "large.jpg", "image/jpeg")
    drag(page, (0.49, 0.5), (0.51, 0.5))
    painted = mask_of(page)
    page.keyboard.press("Delete")
    last = "import('/state.js').then(({ steps }) => steps.done.at(-1).bytes)"
    assert 0 < page.evaluate(last) < 5e6 < 4000 * 3000 * 4
    page.click("#undo")
    assert np.array_equal(mask_of(page), painted)
    page.click("#redo")
    assert not mask_of(page).any()


def test_tools_draw_what_they_say(page):
    open_photo(page, encoded(photo()))
    page.keyboard.press("r")
    drag(page, (0.45, 0.4), (0.6, 0.6))
    rectangle = mask_of(page)
    rows, columns = np.flatnonzero(rectangle.any(1)), np.flatnonzero(rectangle.any(0))
    assert rectangle[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all() and rectangle.mean() < 0.2
    page.keyboard.press("e")
    drag(page, (0.4, 0.5), (0.65, 0.5))
    erased = mask_of(page)
    assert erased.sum() < rectangle.sum() and not (erased & ~rectangle).any()
    page.keyboard.press("l")
    drag(page, (0.35, 0.3), (0.45, 0.3), (0.4, 0.4), (0.36, 0.32))
    assert mask_of(page).sum() > erased.sum()
    before = mask_of(page)
    page.keyboard.press("i")
    assert (mask_of(page) ^ before).mean() > 0.98  # all but the soft pixels along edges
    page.keyboard.press("i")
    for _ in range(2):  # the second one changes nothing, and is no step
        page.keyboard.press("Delete")
    assert not mask_of(page).any()
    for _ in range(6):
        page.click("#undo")
    assert page.is_disabled("#undo")


def test_undo_after_the_eraser_brings_back_what_was_painted(page):
    open_photo(page, encoded(photo()))
    page.keyboard.press("r")
    drag(page, (0.45, 0.4), (0.6, 0.6))
    painted = mask_of(page)
    page.keyboard.press("e")
    drag(page, (0.4, 0.5), (0.65, 0.5))
    erased = mask_of(page)
    assert erased.sum() < painted.sum()
    fill(page)
    for expected in (erased, painted):
        page.keyboard.press("Control+z")
        assert np.array_equal(mask_of(page), expected)
    page.keyboard.press("Control+y")
    assert np.array_equal(mask_of(page), erased)


def test_another_screen_has_other_pixels(page):
    """A window that moves to a denser screen keeps its size, and paints where the pointer is."""
    open_photo(page, encoded(photo()))
    drag(page, (0.45, 0.5), (0.55, 0.5))
    before = mask_of(page)
    metrics = {**DESKTOP, "deviceScaleFactor": 2, "mobile": False}
    page.context.new_cdp_session(page).send("Emulation.setDeviceMetricsOverride", metrics)
    page.click("#undo")
    drag(page, (0.45, 0.5), (0.55, 0.5))
    until(page, "(({ width, clientWidth }) => width === 2 * clientWidth)(document.querySelector('#canvas'))")
    assert (mask_of(page) ^ before).mean() < 0.002


def test_brush_size_zoom_and_pan(page):
    open_photo(page, encoded(photo()))
    size = lambda: float(page.input_value("#size"))  # noqa: E731
    start = size()
    page.keyboard.press("]")
    assert size() > start
    page.keyboard.press("[")
    page.keyboard.press("[")
    assert size() < start
    cursor = "import('/state.js').then(({ view }) => view.cursor)"
    page.focus("#size")
    page.keyboard.press("ArrowRight")  # the brush is shown while it is set
    box = page.locator("#canvas").bounding_box()
    middle = {"x": box["width"] / 2, "y": box["height"] / 2}
    assert page.evaluate(cursor) == {**middle, "radius": size() / 2}
    page.focus("#canvas")
    assert page.evaluate(cursor) is None
    zoom = lambda: page.inner_text("#zoom")  # noqa: E731
    fitted = zoom()
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + 500, box["y"] + 300)
    page.mouse.wheel(0, -300)
    assert zoom() != fitted
    place = "import('/state.js').then(({ view }) => [view.scale, view.x, view.y])"
    scale, x, y = page.evaluate(place)
    page.mouse.wheel(60, 0)  # sideways: the photo goes there
    assert page.evaluate(place) == [scale, x - 60, y]
    smaller = size()
    page.keyboard.down("Alt")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Alt")
    assert size() > smaller
    page.focus("#canvas")
    page.keyboard.down("Space")
    drag(page, (0.5, 0.5), (0.6, 0.6))
    page.keyboard.up("Space")
    assert not mask_of(page).any()  # moved, not painted
    page.keyboard.press("0")
    assert zoom() == fitted


def test_space_moves_the_photo_wherever_the_focus_is(page):
    open_photo(page, encoded(photo()))
    page.click("[data-tool=brush]")
    page.keyboard.down("Space")
    drag(page, (0.5, 0.5), (0.6, 0.6))
    page.keyboard.up("Space")
    assert not mask_of(page).any()


def test_escape_closes_menus_and_keys_in_them_erase_nothing(page):
    open_photo(page, encoded(photo()))
    drag(page, (0.45, 0.5), (0.5, 0.5))
    painted = mask_of(page)
    for menu in ("mask", "options"):
        page.click(f"#{menu}-button")
        page.wait_for_selector(":popover-open")
        if menu == "options":
            page.focus("#options [name=dilate]")
            page.keyboard.press("Delete")
        page.keyboard.press("Escape")
        until(page, "!document.querySelector(':popover-open')")
    assert np.array_equal(mask_of(page), painted)


def test_letters_of_other_keyboards(page):
    """Cyrillic letters count as those at their places; [ and ] stand on the third level of some."""
    open_photo(page, encoded(photo()))
    drag(page, (0.45, 0.5), (0.5, 0.5))
    press = """([key, code, more]) => document.querySelector("#canvas").dispatchEvent(
        new KeyboardEvent("keydown", { key, code, bubbles: true, cancelable: true, ...more }))"""
    page.evaluate(press, ["я", "KeyZ", {"ctrlKey": True}])
    assert not mask_of(page).any()
    size = float(page.input_value("#size"))
    page.evaluate(press, ["]", "Digit9", {"ctrlKey": True, "altKey": True, "modifierAltGraph": True}])
    assert float(page.input_value("#size")) > size


def test_small_windows_hold_whole_menus(browser):
    with serving() as site, page_at(browser, site.url, viewport={"width": 320, "height": 256}) as page:
        open_photo(page, encoded(photo()))
        for menu in ("mask", "options"):
            page.click(f"#{menu}-button")
            box = page.locator(":popover-open").bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] <= 256
            page.keyboard.press("Escape")


def test_keyboard_alone_is_enough(page):
    """A sample, a brush moved by arrow keys, Enter, download: nothing is clicked."""
    page.focus("[data-sample=rocket]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#complete:enabled")
    page.keyboard.press("Delete")
    page.focus("#canvas")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("d")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("d")  # here ends the first stroke
    first = mask_of(page)
    page.focus("#canvas")
    page.keyboard.press("d")
    for _ in range(2):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("d")
    both = mask_of(page)
    assert both.sum() > first.sum()
    for expected in (first, np.zeros_like(first)):
        page.keyboard.press("Control+z")
        assert np.array_equal(mask_of(page), expected)
    for expected in (first, both):
        page.keyboard.press("Control+y")
        assert np.array_equal(mask_of(page), expected)
    page.focus("#canvas")
    page.keyboard.press("Enter")
    page.wait_for_selector("#versions li")
    with page.expect_download() as download:
        page.keyboard.press("Control+s")
    assert download.value.suggested_filename == "rocket-completed.jpg"
    unlabelled = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas, dialog")]
        .filter((e) => !e.closest("[hidden], .strip") && e.type !== "file")
        .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length || e.ariaLabelledByElements?.length))
        .map((e) => e.outerHTML)"""
    )
    assert unlabelled == []
    assert page.evaluate("document.querySelector('#canvas').role") == "application"
    assert "Filled by telea" in page.text_content("[role=status]")  # a place that was there before


def test_models_are_chosen_at_a_glance(browser, tiny_model):
    """Name, purpose and one figure, beside others on the same photographs and holes; all else is folded."""
    with serving(Settings(model=str(tiny_model))) as site, page_at(browser, site.url) as page:
        page.click("#choose-model")
        shown = page.inner_text(".model-card:has([value=tiny])")
        assert "Tests." in shown and " dB" in shown and "0.900" not in shown
        heads = page.locator("#model-list h3").all_inner_texts()
        assert any("Faces" in head and "a hole in the middle, 25\xa0%" in head for head in heads)
        assert len(heads) == len(set(heads))
        above = """(name) => {
            let e = document.querySelector(`.model-card:has([value=${name}])`);
            while (e.tagName !== "H3") e = e.previousElementSibling;
            return e.textContent;
        }"""
        assert page.evaluate(above, "telea") == page.evaluate(above, "recurrent-scenes")
        assert page.evaluate(above, "telea") == page.evaluate(above, "patchmatch")
        assert page.evaluate(above, "search-faces-mse") == page.evaluate(above, "glcic-faces")
        listed = page.locator(
            "h3:first-child ~ .model-card:has(~ h3 + .model-card [value=recurrent-faces]) input"
        )
        names = [one.get_attribute("value") for one in listed.all()]
        rows = cards()["recurrent-scenes"].quality
        looks = {row["model"]: row["lpips"] for row in rows if row["masks"] == "strokes 0.1-0.2"}
        assert names == sorted(looks, key=lambda name: looks[name])
        assert page.evaluate("document.activeElement.value") == "tiny"
        assert "searches" in page.inner_text(".model-card:has([value=search-faces-mse])")
        page.check("[value=telea]")
        assert page.inner_text("#model-name") == "telea"
        for name in ("tiny", "telea", "dcgan-faces"):
            page.click(f".model-card:has([value={name}]) summary")
        assert page.is_checked("[value=telea]")  # looking is not choosing
        shown = page.inner_text(".model-card:has([value=tiny])")
        assert "PSNR" in shown and "0.900" in shown and "0.800" not in shown
        assert "200 photos" in page.inner_text(".model-card:has([value=telea])")
        dcgan = page.inner_text(".model-card:has([value=dcgan-faces])")
        assert "a hole in the middle, 25\xa0% of the photo" in dcgan and "faces/val, 1000 photos" in dcgan
        page.keyboard.press("Escape")
        open_photo(page, encoded(photo()))
        drag(page, (0.45, 0.5), (0.5, 0.5))
        fill(page)
        page.click("#choose-model")
        until(page, "document.querySelector('#model-list').textContent.includes('The last fill took')")


def test_models_are_changed_and_results_repeated(page):
    open_photo(page, encoded(photo()))
    drag(page, (0.45, 0.5), (0.5, 0.5))
    page.click("#choose-model")
    cards = page.locator(".model-card")
    assert cards.count() >= 6
    page.check("[value=navier-stokes]")
    page.keyboard.press("Escape")
    assert page.inner_text("#model-name") == "navier-stokes"
    fill(page)
    assert "navier-stokes" in page.inner_text("#notice")
    fill_again = mask_of(page)
    assert not fill_again.any()
    drag(page, (0.55, 0.5), (0.58, 0.5))  # go on with the result
    fill(page)
    assert page.locator("#versions li").count() == 3
    page.focus("#versions li:first-child button")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "Original"  # the focus stays there
    assert page.locator("#versions [aria-current=true]").inner_text() == "Original"
    page.click("#undo")
    assert page.locator("#versions [aria-current=true]").inner_text() == "Result 2"
    page.focus("#undo")
    while page.is_enabled("#undo"):
        page.keyboard.press("Enter")
    assert (
        page.evaluate("document.activeElement.id") == "canvas"
    )  # a button with nothing left to undo has no focus


class Grey(Slow):
    """Fills with a grey from 0 to 1, its ``seconds``."""

    def __call__(self, image: np.ndarray, hole: np.ndarray, *, seed: int) -> np.ndarray:
        return np.full(image.shape, self.seconds, np.float32)


class Several(Slow):
    """Gives up to three answers."""

    def variants(self, count: int) -> list[Grey]:
        return [Grey(level) for level in (0.1, 0.5, 0.9)[:count]]


def test_another_model_fills_what_was_filled(page):
    """From the same version and with the same mask: both results stand beside each other, and undo goes back."""
    open_photo(page, encoded(photo()))
    drag(page, (0.45, 0.5), (0.5, 0.5))
    mask = mask_of(page)
    fill(page)
    _, first = result_of(page)
    page.click("#notice button:has-text('Try patchmatch')")
    until(page, "document.querySelectorAll('#versions li').length === 3")
    until(page, "document.querySelector('#notice').textContent.includes('Filled by patchmatch')")
    assert page.is_hidden("#act")  # nothing is better at objects
    assert page.inner_text("#model-name") == "telea"
    _, second = result_of(page)
    before = np.asarray(photo())
    assert np.array_equal(second[~mask], before[~mask])
    assert (second != first)[mask].any()
    page.click("#undo")
    assert np.array_equal(result_of(page)[1], first)
    page.click("#undo")
    assert np.array_equal(mask_of(page), mask)


def ask_for_three(page):
    """Answers, pasted as they are."""
    page.click("#options-button")
    page.locator("#variants").fill("3")
    page.select_option("#blend", "none")
    page.keyboard.press("Escape")


def test_variants_stand_side_by_side(browser):
    with serving(predictor=Several()) as site, page_at(browser, site.url) as page:
        open_photo(page, encoded(photo()))
        ask_for_three(page)
        drag(page, (0.45, 0.5), (0.55, 0.5))
        hole = mask_of(page)
        fill(page)
        answers = page.locator("#answers button")
        assert answers.count() == 3
        answers.nth(2).click()
        assert abs(result_of(page)[1][hole].mean() - 0.9 * 255) < 2
        answers.nth(0).click()
        assert abs(result_of(page)[1][hole].mean() - 0.1 * 255) < 2
        page.click(
            "#versions li:first-child button"
        )  # looked at the photo; another answer, and back to the photo
        answers.nth(1).click()
        assert abs(result_of(page)[1][hole].mean() - 0.5 * 255) < 2
        page.click("#undo")
        assert page.locator("#versions [aria-current=true]").inner_text() == "Original"
        page.click("#redo")
        assert abs(result_of(page)[1][hole].mean() - 0.5 * 255) < 2
        drag(page, (0.3, 0.5), (0.35, 0.5))
        assert page.is_hidden("#answers")
        assert page.locator("#versions li").count() == 2


SENT = """() => {
    window.sent = [];
    const real = window.fetch;
    window.fetch = (path, options) => {
        if (path === "api/v1/inpaint") {
            const files = ["image", "filled"].map((name) => options.body.get(name));
            sent.push(Promise.all(files.map(async (file) => file && [...new Uint8Array(await file.arrayBuffer())])));
        }
        return real(path, options);
    };
}"""


def sent(page: Any) -> tuple[bytes, bytes | None]:
    """The photo and the layer of the last fill."""
    image, layer = page.evaluate("sent.at(-1)")
    return bytes(image), None if layer is None else bytes(layer)


def rgb(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def profile() -> bytes:
    """An ICC profile in which a browser shows other values than it stores: red and blue exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for i in range(128, 128 + 4 + 12 * data[131], 1):
        if data[i : i + 4] == b"rXYZ":
            data[i : i + 4] = b"bXYZ"
        elif data[i : i + 4] == b"bXYZ":
            data[i : i + 4] = b"rXYZ"
    return bytes(data)


@pytest.mark.parametrize("dilate", [0, 9])
@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_fill_after_fill_compresses_a_lossy_photo_once(page, kind, dilate):
    """Each fill sends the photo as it was opened, and a layer of what the version that is shown had completed."""
    pixels = np.asarray(photo()).copy()
    pixels[100:140, 60:260] = (255, 40, 40)  # damaged
    options = {"exif": b"", "icc_profile": profile(), "quality": 80}
    data = encoded(Image.fromarray(pixels), kind, **options)
    open_photo(page, data, f"photo.{kind}", f"image/{kind}")
    page.evaluate(SENT)
    page.click("#options-button")
    page.locator("[name=dilate]").fill(str(dilate))
    page.keyboard.press("Escape")
    page.keyboard.press("r")

    holes, results = [], []
    for left in (0.36, 0.47, 0.58):
        drag(page, (left, 0.46), (left + 0.05, 0.54))
        hole = mask_of(page)
        fill(page)
        holes.append(ndimage.distance_transform_edt(~hole) <= dilate)
        results.append(downloaded(page, "#download")[1])
        image, layer = sent(page)
        assert image == data
        if len(results) == 1:
            assert layer is None
            continue
        given = np.asarray(Image.open(io.BytesIO(layer)))
        assert given.shape == (240, 320, 4)
        assert np.array_equal(given[..., 3] == 255, np.any(holes[:-1], axis=0))
        assert not given[..., 3][~np.any(holes[:-1], axis=0)].any()
        assert np.abs(given[..., :3] - rgb(results[-2]))[holes[-2]].mean() < 3

    first, second, third = map(rgb, results)
    assert all(hole.any() for hole in holes)
    far = ndimage.distance_transform_edt(~np.any(holes, axis=0)) > 24
    original = rgb(data)
    if kind == "jpeg":
        assert np.array_equal(first[far], second[far]) and np.array_equal(first[far], third[far])
    else:
        assert ((third - original)[far] ** 2).mean() < 1.25 * ((first - original)[far] ** 2).mean()
    assert np.abs(third - first)[holes[0]].mean() < 6  # completed, and not damaged again

    page.keyboard.press("Control+z")  # the third result,
    page.keyboard.press("Control+z")  # its stroke,
    page.keyboard.press("Control+z")  # and the second result: its stroke is there again
    assert np.array_equal(ndimage.distance_transform_edt(~mask_of(page)) <= dilate, holes[1])
    fill(page)
    image, layer = sent(page)
    assert image == data
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(layer)))[..., 3] == 255, holes[0])
    assert downloaded(page, "#download")[1] == results[1]

    page.click("#versions li:first-child button")  # the photo itself, to begin anew
    drag(page, (0.58, 0.46), (0.63, 0.54))
    fill(page)
    assert sent(page) == (data, None)


def test_the_answer_that_was_chosen_is_what_the_next_fill_goes_on_with(browser):
    with serving(predictor=Several()) as site, page_at(browser, site.url) as page:
        data = encoded(photo(), "jpeg", quality=90)
        open_photo(page, data, "photo.jpg", "image/jpeg")
        page.evaluate(SENT)
        ask_for_three(page)
        drag(page, (0.45, 0.5), (0.55, 0.5))
        hole = mask_of(page)
        fill(page)
        page.locator("#answers button").nth(2).click()
        drag(page, (0.3, 0.5), (0.35, 0.5))
        fill(page)
        image, layer = sent(page)
        assert image == data
        given = np.asarray(Image.open(io.BytesIO(layer)))
        assert np.array_equal(given[..., 3] == 255, hole)
        assert abs(given[..., :3][hole].mean() - 0.9 * 255) < 6


def test_a_lossless_photo_goes_on_with_its_result(page):
    for kind, options in (("png", {}), ("webp", {"lossless": True})):
        open_photo(page, encoded(photo(), kind, **options), f"photo.{kind}", f"image/{kind}")
        page.evaluate(SENT)
        drag(page, (0.45, 0.5), (0.5, 0.5))
        fill(page)
        result = downloaded(page, "#download")[1]
        drag(page, (0.55, 0.5), (0.58, 0.5))
        fill(page)
        assert sent(page) == (result, None)


def test_progress_and_cancel(browser):
    gated = Gated(free=1)
    with serving(predictor=gated) as site, page_at(browser, site.url) as page:
        open_photo(page, encoded(photo(600, 200)))
        drag(page, (0.1, 0.5), (0.9, 0.5))
        hole = mask_of(page)
        page.focus("#canvas")
        uploads: list[Any] = []
        page.route("**/inpaint", lambda route: uploads.append(route))
        page.keyboard.press("Enter")
        page.wait_for_selector("#working:visible")
        assert page.inner_text("#working-text").startswith("Sending")
        while not uploads:
            page.wait_for_timeout(20)
        uploads[0].continue_()
        until(page, "/: [1-9]/.test(document.querySelector('#working-text').textContent)")
        assert page.is_disabled("#complete") and page.is_disabled("#open")
        page.click("#cancel")
        page.wait_for_selector("#notice:visible")
        assert "Cancelled" in page.inner_text("#notice")
        processes.until(lambda: unwanted(site))  # the connection's end reached the work
        gated.gate.set()
        processes.until(lambda: idle(site))
        assert gated.calls == 2
        assert np.array_equal(mask_of(page), hole)
        assert page.locator("#versions li").count() < 2


def test_bad_files_are_said_where_they_came_from(browser, site):
    with page_at(browser, site.url, expected=("415", "422")) as page:
        page.set_input_files("#photo-file", {"name": "x.png", "mimeType": "image/png", "buffer": b"junk"})
        page.wait_for_selector("#welcome-error:not(:empty)")
        assert "PNG, JPEG" in page.inner_text("#welcome-error")
        open_photo(page, encoded(photo()))
        mask = {"name": "m.png", "mimeType": "image/png", "buffer": encoded(photo(10, 10))}
        page.set_input_files("#mask-file", mask)
        page.wait_for_selector("#notice.wrong:visible")
        assert "10 × 10" in page.inner_text("#notice") and "320 × 240" in page.inner_text("#notice")
        for grey in (0, 1):
            black = encoded(Image.new("L", (320, 240), grey))
            page.set_input_files("#mask-file", {"name": "m.png", "mimeType": "image/png", "buffer": black})
            page.wait_for_selector("#notice.wrong:visible:has-text('white')")
            page.click("#notice [aria-label=Close]")
        page.click("#complete")
        assert "paint" in page.inner_text("#notice").lower()
        page.set_input_files("#photo-file", {"name": "x.png", "mimeType": "image/png", "buffer": b"junk"})
        page.wait_for_selector("#notice.wrong:visible")
        assert page.is_visible("#canvas")  # the photo that was open is still there
        page.reload()
        page.wait_for_selector("#welcome:visible")


def test_a_photo_that_the_server_does_not_take_is_refused_at_once(browser, site):
    with page_at(browser, site.url, expected=("415",)) as page:
        data = encoded(photo(), "gif")
        page.set_input_files("#photo-file", {"name": "x.gif", "mimeType": "image/gif", "buffer": data})
        page.wait_for_selector("#welcome-error:not(:empty)")
        assert "PNG, JPEG" in page.inner_text("#welcome-error") and page.is_hidden("#canvas")


def test_a_phone_shows_the_first_screen_and_the_models_name_whole(browser):
    with (
        serving(Settings(model="recurrent-scenes")) as own,
        page_at(browser, own.url, viewport=PHONE) as page,
    ):
        whole = "e => e.scrollHeight <= e.clientHeight && e.scrollWidth <= e.clientWidth"
        assert page.locator("#welcome").evaluate(whole)
        assert page.inner_text("#model-name") == "recurrent-scenes"
        assert page.locator("#model-name").evaluate("e => e.scrollWidth <= e.clientWidth")


@pytest.mark.parametrize("limit", [{"max_mebibytes": 1}, {"max_megapixels": 0.5}])
def test_a_photo_beyond_the_limits_is_refused_before_anything_is_painted(browser, limit):
    with (
        serving(Settings(model="telea", **limit)) as own,
        page_at(browser, own.url) as page,
    ):
        ready(own)
        data = encoded(photo(1000, 700))
        assert len(data) > 1 << 20
        page.set_input_files("#photo-file", {"name": "x.png", "mimeType": "image/png", "buffer": data})
        page.wait_for_selector("#welcome-error:has-text('too large for the server')")
        assert page.is_hidden("#canvas")
        open_photo(page, encoded(photo()))


def test_a_photo_that_browsers_do_not_draw_is_refused_with_its_size(page):
    data = encoded(Image.new("L", (16385, 2)))
    page.set_input_files("#photo-file", {"name": "x.png", "mimeType": "image/png", "buffer": data})
    page.wait_for_selector("#welcome-error:has-text('a photo of 16385 × 2')")


@pytest.mark.parametrize("make", [avif, heic])
def test_photographs_of_telephones_are_shown_turned_and_become_png(page, make):
    tags = Image.Exif()
    tags[0x0112] = 6
    data = make(photo(), exif=tags.tobytes())
    name = f"IMG_1.{make.__name__}"
    assert ".heic" in page.get_attribute("#photo-file", "accept")
    open_photo(page, data, name, "")
    assert downloaded(page, "#download") == (name.replace(".", "-original."), data)
    drag(page, (0.4, 0.45), (0.6, 0.5), (0.55, 0.6))
    hole = mask_of(page)
    fill(page)
    name, answer = downloaded(page, "#download")
    done, known = images.read(answer), images.read(data)
    assert name == "IMG_1-completed.png" and done.size == known.size == hole.shape == (320, 240)
    assert np.array_equal(done.pixels[~hole], known.pixels[~hole])
    page.click("#notes-button")
    assert "written as PNG" in page.inner_text("#notes-list")


def test_heic_that_the_server_cannot_read_is_said(browser, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with serving() as site, page_at(browser, ready(site) or site.url, expected=("415",)) as page:
        assert ".heic" not in page.get_attribute("#photo-file", "accept")  # an iPhone gives a JPEG then
        page.set_input_files("#photo-file", {"name": "x.heic", "mimeType": "", "buffer": heic(photo())})
        page.wait_for_selector("#welcome-error:not(:empty)")
        assert "pip install '.[heic]'" in page.inner_text("#welcome-error") and page.is_hidden("#canvas")


def test_tiff_paste_and_masks_from_files(page):
    """Files that the browser cannot show, the clipboard, and masks made elsewhere."""
    tiff = encoded(photo(), "tiff", dpi=(300, 300))
    open_photo(page, tiff, "scan.tif", "application/octet-stream")
    assert downloaded(page, "#download") == ("scan-original.tif", tiff)
    hole = np.zeros((240, 320), np.uint8)
    hole[60:90, 40:200] = 255
    buffer = encoded(Image.fromarray(hole))
    page.set_input_files("#mask-file", {"name": "m.png", "mimeType": "image/png", "buffer": buffer})
    page.wait_for_selector("#undo:enabled")
    assert np.array_equal(mask_of(page), hole > 0)
    page.click("#mask-button")
    page.click("[data-mask=grow]")
    page.wait_for_selector("#working", state="hidden")
    assert mask_of(page).sum() > (hole > 0).sum()
    page.click("#undo")
    fill(page)
    name, data = downloaded(page, "#download")
    got = Image.open(io.BytesIO(data))
    assert (name, got.format, got.info["dpi"]) == ("scan-completed.tif", "TIFF", (300, 300))
    outside = hole == 0
    assert np.array_equal(np.asarray(got)[outside], np.asarray(photo())[outside])
    paste(page, encoded(photo(64, 48)))
    until(page, "document.querySelectorAll('#versions li').length === 1")
    page.wait_for_selector("#working", state="hidden")
    assert downloaded(page, "#download")[0] == "pasted-original.png"


def test_the_values_of_a_mask_count_and_not_how_bright_its_file_says_that_they_are(page):
    """As for the command, whether it is opened, dropped on its photo, or dropped together with it."""
    hole = np.zeros((240, 320), np.uint8)
    hole[60:90, 40:200] = 255
    hole[59, 40:200] = 100  # an edge, which a gamma of 1 shows as white
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"gAMA", (100_000).to_bytes(4, "big"))
    mask, shot = encoded(Image.fromarray(hole), pnginfo=chunks), list(encoded(photo()))
    for files in ([], [[list(mask), "b-mask.png"]], [[list(mask), "c-mask.png"], [shot, "c.png"]]):
        open_photo(page, encoded(photo()))
        if files:
            page.evaluate(DROP, files)
        else:
            page.set_input_files("#mask-file", {"name": "m.png", "mimeType": "image/png", "buffer": mask})
        until(page, "import('/state.js').then(({ state }) => !state.job && !state.mask.empty)")
        assert np.array_equal(mask_of(page), hole >= 128)


def test_a_photo_is_pasted_wherever_the_focus_is(browser, site):
    """Also on the brush's size, which keeps it after use, and on the line between before and after."""
    script = """async () => {
        const canvas = new OffscreenCanvas(64, 48);
        canvas.getContext("2d").fillRect(0, 0, 64, 48);
        const blob = await canvas.convertToBlob();
        await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
    }"""
    with page_at(browser, site.url, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.evaluate(script)
        for place in ("#size", "#divide"):
            open_photo(page, encoded(photo()))
            drag(page, (0.45, 0.5), (0.5, 0.5))
            fill(page)
            page.click("#compare")
            page.focus(place)
            page.keyboard.press("Control+v")
            page.wait_for_selector("#canvas[aria-label*='64 × 48']")
            page.wait_for_selector("#working", state="hidden")


def test_opening_another_photo_loses_nothing(page):
    """It is a step like any other: undo goes back to the first photo, its results and what was painted."""
    open_photo(page, encoded(photo()), "first.png")
    drag(page, (0.4, 0.45), (0.6, 0.5))
    fill(page)
    _, filled = result_of(page)
    drag(page, (0.45, 0.6), (0.55, 0.6))
    painted = mask_of(page)
    open_photo(page, encoded(photo(64, 48)), "second.png")
    assert "Undo goes back to first" in page.inner_text("#notice")
    drag(page, (0.3, 0.3), (0.5, 0.5))
    second = mask_of(page)
    assert second.shape == (48, 64) and second.any()
    page.keyboard.press("Control+z")  # the stroke
    page.keyboard.press("Control+z")  # the second photo
    name, pixels = result_of(page)
    assert name == "first-completed.png" and np.array_equal(pixels, filled)
    assert np.array_equal(mask_of(page), painted)
    page.keyboard.press("Control+z")  # the second stroke
    page.keyboard.press("Control+z")  # the result
    assert np.array_equal(result_of(page)[1], np.asarray(photo()))
    for _ in range(4):
        page.keyboard.press("Control+y")
    assert np.array_equal(mask_of(page), second)
    assert downloaded(page, "#download")[0] == "second-original.png"


def test_what_a_result_could_not_keep_stays_readable(page):
    """Beside the download, for as long as the result is shown, and in the results that are made from it."""
    open_photo(page, encoded(photo().convert("CMYK"), "tiff"), "print.tif", "image/tiff")
    assert page.is_hidden("#notes-button")
    for left in (0.4, 0.5):
        drag(page, (left, 0.5), (left + 0.05, 0.5))
        fill(page)
        page.click("#notice [aria-label=Close]")
        page.click("#notes-button")
        page.wait_for_selector("#notes:popover-open")
        assert page.locator("#notes-list li").all_inner_texts()[0].startswith("CMYK without")
        assert "telea" in page.inner_text("#notes-made")
        page.keyboard.press("Escape")
    assert "print, Result 2, 320 × 240" in page.get_attribute("#canvas", "aria-label")
    page.click("#versions li:first-child button")
    assert page.is_hidden("#notes-button")


@pytest.mark.parametrize("kind", ["webp", "jpeg", "png"])
def test_a_photo_is_shown_upright(page, kind):
    """As the server completes it: Chromium leaves the orientation of a WebP out of account."""
    pixels = np.full((60, 80), 220, np.uint8)
    pixels[:20, :30] = 20
    for orientation in (1, 3, 6):
        exif = Image.Exif()
        exif[0x112] = orientation
        picture = Image.fromarray(pixels).convert("RGB")
        open_photo(page, encoded(picture, kind, exif=exif, quality=95), f"x.{kind}", f"image/{kind}")
        picture.getexif()[0x112] = orientation
        upright = np.asarray(ImageOps.exif_transpose(picture).convert("L"))
        assert shown(page).shape == upright.shape
        assert np.abs(shown(page) - upright.astype(int)).mean() < 4


def test_nothing_is_changed_while_the_mask_is(page):
    """Growing it takes a while: nothing else is done meanwhile, and it can be cancelled."""
    asked: list[Any] = []
    page.route("**/adjust_mask", lambda route: asked.append(route))
    open_photo(page, encoded(photo()))
    drag(page, (0.4, 0.5), (0.5, 0.5))
    painted = mask_of(page)
    for end in ("cancel", "answer"):
        page.click("#mask-button")
        page.click("[data-mask=grow]")
        page.wait_for_selector("#working:visible")
        for button in ("undo", "complete", "mask-button", "open", "download"):
            assert page.is_disabled(f"#{button}")
        page.set_input_files(
            "#photo-file", {"name": "o.png", "mimeType": "image/png", "buffer": encoded(photo())}
        )
        page.focus("#canvas")
        page.keyboard.press("i")
        drag(page, (0.4, 0.2), (0.5, 0.2))
        if end == "cancel":
            page.click("#cancel")
        else:
            asked[-1].continue_()
        page.wait_for_selector("#working", state="hidden")
        after = mask_of(page)
        assert np.array_equal(after, painted) if end == "cancel" else after.sum() > painted.sum()
        assert not (painted & ~after).any() and not after[:80].any()
    page.click("#undo")
    assert np.array_equal(mask_of(page), painted)
    assert downloaded(page, "#download")[0] == "photo-original.png"


@pytest.mark.parametrize("key", ["i", "Delete", "Enter", "Control+z", "e", "ArrowRight", "d"])
def test_keys_leave_a_stroke_alone(page, key):
    open_photo(page, encoded(photo()))
    drag(page, (0.4, 0.4), (0.5, 0.4))
    first = mask_of(page)
    press(page, 0.4, 0.6)
    page.keyboard.press(key)
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"], steps=4)
    page.mouse.up()
    both = mask_of(page)
    assert both.sum() > first.sum() and (first & ~both).sum() == 0
    assert page.locator("#versions li").count() < 2
    page.click("#undo")
    assert np.array_equal(mask_of(page), first)
    page.click("#undo")
    assert not mask_of(page).any() and page.is_disabled("#undo")


def test_a_stroke_ends_where_the_pointer_is_lost(page):
    open_photo(page, encoded(photo()))
    press(page, 0.4, 0.5)
    page.evaluate("document.querySelector('#canvas').releasePointerCapture(1)")
    page.mouse.move(0, 0)
    page.wait_for_selector("#undo:enabled")
    page.keyboard.press("Control+z")
    assert not mask_of(page).any()
    page.mouse.up()


def test_nothing_painted_is_nothing_to_fill(page):
    """Also where it was painted and taken away again, or lies beside the photo."""
    page.route("**/inpaint", lambda route: pytest.fail("it was filled"))
    open_photo(page, encoded(photo()))

    def nothing() -> None:
        page.keyboard.press("Escape")
        assert page.text_content("#notice span") == ""
        page.click("#complete")
        assert "Nothing is painted" in page.text_content("#notice span")

    drag(page, (0.45, 0.5), (0.5, 0.5))
    page.keyboard.press("e")
    page.locator("#size").fill("160")
    drag(page, (0.4, 0.5), (0.55, 0.5))
    nothing()
    page.keyboard.press("Delete")
    page.keyboard.press("i")
    page.keyboard.press("i")
    nothing()
    page.keyboard.press("b")
    page.locator("#size").fill("10")
    drag(page, (0.01, 0.01), (0.02, 0.02))
    nothing()


def test_no_change_of_the_mask_is_hidden(page):
    """While before and after are shown, the mask is not."""
    open_photo(page, encoded(photo()))
    drag(page, (0.45, 0.5), (0.5, 0.5))
    fill(page)
    for keys in (["i"], ["Control+z"], ["Control+Shift+Z"], ["Delete"]):
        page.click("#compare")
        assert page.get_attribute("#compare", "aria-pressed") == "true"
        for key in keys:
            page.keyboard.press(key)
        assert page.get_attribute("#compare", "aria-pressed") == "false", keys
    assert not mask_of(page).any()


def test_before_and_after_are_zoomed_and_moved_as_the_photo_is(browser, site):
    """By wheel, space, middle button and two fingers; one finger or the left button moves the line between them."""
    options = {"viewport": PHONE, "has_touch": True}
    with page_at(browser, site.url, **options) as page:
        open_photo(page, encoded(photo()))
        drag(page, (0.45, 0.5), (0.55, 0.5))
        fill(page)
        page.click("#compare")
        place = "import('/state.js').then(({ view }) => [view.scale, view.x, view.y, view.divide])"
        box = page.locator("#canvas").bounding_box()
        page.mouse.move(box["x"] + 200, box["y"] + 300)
        page.mouse.wheel(0, -300)
        scale, x, y, line = page.evaluate(place)
        page.keyboard.down("Space")
        drag(page, (0.5, 0.5), (0.6, 0.5))
        page.keyboard.up("Space")
        moved = 0.1 * box["width"]
        assert np.allclose(page.evaluate(place), [scale, x + moved, y, line])
        page.mouse.down(button="middle")
        page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
        page.mouse.up(button="middle")
        assert np.allclose(page.evaluate(place), [scale, x, y, line])
        drag(page, (0.5, 0.5), (0.25, 0.6))
        assert np.allclose(page.evaluate(place), [scale, x, y, 0.25], atol=2e-3)
        page.keyboard.press("ArrowRight")  # the line has the keys
        assert page.evaluate(place)[3] > 0.25
        touches = page.context.new_cdp_session(page).send
        for kind, *points in (
            ("touchStart", (100, 350)),
            ("touchStart", (100, 350), (160, 350)),
            ("touchMove", (80, 350), (180, 350)),
            ("touchEnd",),
        ):
            named = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
            touches("Input.dispatchTouchEvent", {"type": kind, "touchPoints": named})
        until(page, f"import('/state.js').then(({{ view }}) => view.scale > {1.2 * scale})")
        assert page.get_attribute("#compare", "aria-pressed") == "true"
        assert not mask_of(page).any()


def test_the_line_between_before_and_after_stays_at_its_thumb(page):
    """Also where the window's width changes, as when a telephone is turned."""
    open_photo(page, encoded(photo()))
    drag(page, (0.45, 0.5), (0.55, 0.5))
    fill(page)
    page.click("#compare")
    drag(page, (0.5, 0.5), (0.8, 0.5))
    value = float(page.input_value("#divide")) / 1000
    for width in (400, 1400):
        page.set_viewport_size({"width": width, "height": 700})
        place = 20 + value * (width - 40)  # of the thumb's middle
        line = "import('/state.js').then(({ view }) => view.divide)"
        until(page, f"{line}.then((divide) => Math.abs(divide * {width} - {place}) < 1)")


def test_the_chosen_model_is_remembered(browser, site):
    """Where the browser keeps nothing, or the model is gone, it is the service's own."""
    kept = """localStorage.setItem("retouch-model", '{"name": "%s", "over": "%s"}')"""
    with page_at(browser, site.url) as page:
        page.click("#choose-model")
        page.check("[value=navier-stokes]")
        page.reload()
        page.wait_for_selector("body[data-ready]", state="attached")
        assert page.inner_text("#model-name") == "navier-stokes"
        for name, over in (("gone", "telea"), ("fsr", "another")):
            page.evaluate(kept % (name, over))
            page.reload()
            page.wait_for_selector("body[data-ready]", state="attached")
            assert page.inner_text("#model-name") == "telea"
        page.add_init_script(
            "Object.defineProperty(window, 'localStorage', { get() { throw new Error(); } })"
        )
        page.reload()
        page.wait_for_selector("body[data-ready]", state="attached")
        assert page.inner_text("#model-name") == "telea"
        page.click("#choose-model")
        page.check("[value=fsr]")
        assert page.inner_text("#model-name") == "fsr"


PROBLEMS = {
    "too_many_pixels": ("image: expected at most 100,000,000 pixels, got 12000 x 10000", "too large"),
    "nothing_known": ("expected a hole that leaves known pixels to complete from", "Leave some"),
    "busy": ("1 photographs are being completed and 16 are waiting: come back in 9 s", "busy"),
    "model_failed": ("the model failed; the server's log says why", "another model"),
    "too_long": ("not done within the time limit of 120 s", "Paint less"),
    "failed": ("something failed that should not; the server's log says what", "nothing was changed"),
}


@pytest.mark.parametrize("code", PROBLEMS)
def test_problems_are_said_in_words_for_people(browser, site, code):
    """What to do stands first, and is announced; the service's own line is beside it, and decides nothing."""
    status, (detail, words) = CODES[code][0], PROBLEMS[code]
    with page_at(browser, site.url, expected=(str(status),)) as page:
        problem = {"error": code, "detail": detail, "errors": detail}
        page.route("**/inpaint", lambda route: route.fulfill(status=status, json=problem))
        open_photo(page, encoded(photo()))
        drag(page, (0.45, 0.5), (0.5, 0.5))
        page.click("#complete")
        page.wait_for_selector("#notice.wrong:visible")
        said = page.text_content("#alarm")
        assert words in said and detail not in said
        line = detail[0].upper() + detail[1:] + "."
        assert page.text_content("#notice .detail") == line
        assert page.text_content("#notice span") == said + line


def test_what_a_proxy_refuses_is_said_as_what_the_service_refuses(browser, site):
    """Its answer is no JSON, and may have no words: nginx takes a megabyte where nobody said otherwise."""
    with page_at(browser, site.url, expected=("413",)) as page:
        page.route("**/inpaint", lambda route: route.fulfill(status=413, body="<html>413</html>"))
        open_photo(page, encoded(photo()))
        drag(page, (0.45, 0.5), (0.5, 0.5))
        page.click("#complete")
        page.wait_for_selector("#notice.wrong:visible:has-text('too large for the server')")
        assert "413" in page.text_content("#notice .detail")


def test_the_whole_photo_painted_and_a_lost_connection(browser, site):
    with page_at(browser, site.url, expected=("422", "ERR_FAILED")) as page:
        open_photo(page, encoded(photo()))
        page.keyboard.press("i")
        page.click("#complete")
        page.wait_for_selector("#notice.wrong:visible:has-text('Leave some of it')")
        page.route("**/inpaint", lambda route: route.abort())
        page.click("#complete")
        page.wait_for_selector("#notice.wrong:visible:has-text('cannot be reached; nothing here is lost')")
        assert mask_of(page).all()


def test_a_photo_whose_file_is_changed_or_goes_is_not_lost(page, tmp_path):
    file, data = tmp_path / "photo.jpg", encoded(photo(), "jpeg")
    file.write_bytes(data)
    page.set_input_files("#photo-file", file)
    page.wait_for_selector("#canvas:visible")
    for then in (lambda: file.write_bytes(b"another"), file.unlink):
        page.wait_for_selector("#complete:enabled")
        drag(page, (0.45, 0.5), (0.5, 0.5))
        then()
        fill(page)
    page.click("#versions li:first-child button")
    assert downloaded(page, "#download")[1] == data


def test_a_folder_that_is_dropped_is_told(page, tmp_path):
    send = page.context.new_cdp_session(page).send
    data = {"items": [], "files": [str(tmp_path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        send("Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 400, "data": data})
    page.wait_for_selector("#welcome-error:has-text('it is a folder')")


GIVE = """([kind, bytes, name]) => {
    const data = new DataTransfer();
    if (bytes) data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
    else data.setData("text/plain", "https://photos.example/cat.jpg");
    dispatchEvent(kind === "drop" ? new DragEvent(kind, { dataTransfer: data, cancelable: true })
                                  : new ClipboardEvent(kind, { clipboardData: data }));
}"""


def test_what_is_dropped_or_pasted_and_no_file_is_told(page):
    for place in ("#welcome-error", "#notice"):
        for kind, words in (("drop", "drop its file"), ("paste", "no picture to paste")):
            page.evaluate(GIVE, [kind, None, ""])
            until(page, f"document.querySelector('{place}').textContent.includes('{words}')")
        open_photo(page, encoded(photo()))


def test_a_dropped_mask_is_a_mask(page):
    """Where it is of the photo's size, and the photo is not black and white itself."""
    known = photo()
    open_photo(page, encoded(known), "known.png")
    drag(page, (0.45, 0.5), (0.5, 0.5))
    painted = mask_of(page)
    hole = np.zeros((240, 320), np.uint8)
    hole[60:90, 40:200] = 255
    hole[59, 40:200] = 128  # a soft edge
    page.evaluate(GIVE, ["drop", list(encoded(Image.fromarray(hole))), "m.png"])
    until(page, "document.querySelector('#notice').textContent.includes('Taken as a mask')")
    page.wait_for_selector("#working", state="hidden")
    assert np.array_equal(mask_of(page), hole >= 128)
    assert downloaded(page, "#download")[0] == "known-original.png"
    page.click("#undo")
    assert np.array_equal(mask_of(page), painted)
    grey = Image.fromarray(np.asarray(known)[..., 0])
    first, second = (Image.fromarray(page[:200]) for page in (hole, hole[::-1]))  # two pages of a scan
    for name, picture in {"grey": grey, "first": first, "second": second}.items():
        page.evaluate(GIVE, ["drop", list(encoded(picture)), f"{name}.png"])
        until(page, f"import('/state.js').then(({{ state }}) => state.name === '{name}' && !state.job)")


DROP = """(files) => {
    const dataTransfer = new DataTransfer();
    for (const [bytes, name] of files) dataTransfer.items.add(new File([new Uint8Array(bytes)], name));
    dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
}"""


def test_a_photo_is_opened_without_its_mask_where_that_is_damaged(browser, site):
    shot, mask = list(encoded(photo())), list(encoded(Image.new("L", (320, 240))))
    with page_at(browser, site.url, expected=("422",)) as page:
        page.evaluate(DROP, [[mask[: len(mask) // 2], "a-mask.png"], [shot, "a.png"]])
        page.wait_for_selector("#notice.wrong:visible:has-text('The photo is open; its mask cannot be read')")
        assert page.title() == "a – Retouch"


def test_a_photo_and_its_mask_are_dropped_together(page):
    hole = np.zeros((240, 320), np.uint8)
    hole[60:90, 40:200] = 255
    shot, mask = list(encoded(photo())), list(encoded(Image.fromarray(hole)))
    page.evaluate(DROP, [[mask, "a-mask.png"], [shot, "a.png"]])
    page.wait_for_selector("#complete:enabled")
    assert np.array_equal(mask_of(page), hole > 0)
    for files in (
        [[mask, "e.png"], [shot, "e.jpg"]],
        [[shot, "e.jpg"], [mask, "e.png"]],
    ):  # named as for the command
        page.evaluate(DROP, files)
        until(
            page,
            "import('/state.js').then(({ state }) => !state.job && state.name === 'e' && !state.mask.empty)",
        )
        assert np.array_equal(mask_of(page), hole > 0)
        assert page.title() == "e – Retouch" and "Reading" not in page.text_content("#said")
        page.keyboard.press("Control+z")
        page.keyboard.press("Control+z")
    page.evaluate(DROP, [[list(encoded(Image.new("L", (320, 240)))), "f-mask.png"], [shot, "f.png"]])
    page.wait_for_selector("#notice.wrong:visible:has-text('Nothing in this mask is white')")
    page.evaluate(DROP, [[shot, "b.png"], [shot, "c.png"], [shot, "d.png"]])
    until(
        page, "document.querySelector('#notice').textContent.includes('One photo at a time: b.png is open')"
    )
    assert downloaded(page, "#download")[0] == "b-original.png"


def test_what_cannot_be_dropped_is_shown_so(browser):
    """While a photo is filled another one is not opened: the pointer says so, and the stage invites nothing."""
    script = """() => {
        const dataTransfer = new DataTransfer();
        dispatchEvent(new DragEvent("dragover", { dataTransfer, cancelable: true }));
        return document.body.classList.contains("dropping");
    }"""
    model = Gated()
    with serving(predictor=model) as site, page_at(browser, site.url) as page:
        open_photo(page, encoded(photo()))
        drag(page, (0.45, 0.5), (0.5, 0.5))
        page.click("#complete")
        page.wait_for_selector("#working:visible")
        assert not page.evaluate(script)
        model.gate.set()
        page.wait_for_selector("#working", state="hidden")
        assert page.evaluate(script)


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_what_is_pasted_while_a_photo_is_filled_has_to_wait(browser, size):
    """It is said above the progress, which goes on and can be cancelled."""
    script = """() => {
        const boxOf = (id) => document.getElementById(id).getBoundingClientRect();
        const [notice, working] = [boxOf("notice"), boxOf("working")];
        return [notice.height, notice.bottom < working.top || notice.top > working.bottom];
    }"""
    model = Gated()
    with serving(predictor=model) as site, page_at(browser, site.url, viewport=size) as page:
        open_photo(page, encoded(photo(600, 200)))
        drag(page, (0.1, 0.5), (0.9, 0.5))
        page.click("#complete")
        page.wait_for_selector("#working:visible")
        paste(page, encoded(photo(64, 48)))
        height, apart = page.evaluate(script)
        assert height > 0 and apart
        processes.until(lambda: model.calls == 1)
        model.gate.set()
        model.gate.clear()
        until(page, "/: [1-9]/.test(document.querySelector('#working-text').textContent)")
        assert "Not opened" in page.text_content("#notice")
        page.click("#cancel")
        page.wait_for_selector("#working", state="hidden")
        model.gate.set()
        assert page.locator("#versions li").count() < 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(browser, site, tmp_path, scheme):
    options = {"viewport": PHONE, "has_touch": True, "is_mobile": True, "color_scheme": scheme}
    with page_at(browser, site.url, **options) as page:
        page.tap("[data-sample=astronaut]")
        page.wait_for_selector("#complete:enabled")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        for box in page.locator("button:visible").evaluate_all(
            "all => all.map((e) => e.getBoundingClientRect()).map((b) => [b.left, b.right, b.height])"
        ):
            assert box[0] >= 0 and box[1] <= PHONE["width"] and box[2] >= 36
        stage = page.locator("#stage").bounding_box()
        page.tap("#mask-button")
        page.tap("[data-mask=clear]")
        box = page.locator("#canvas").bounding_box()
        page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        fill(page)
        assert page.locator("#stage").bounding_box() == stage  # nothing jumped
        page.screenshot(path=tmp_path / "phone.png")
        corner = Image.open(tmp_path / "phone.png").convert("L").getpixel((2, 2))
        assert (corner < 80) == (scheme == "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_chosen_is_seen(browser, site, scheme):
    """An edge of 3 to 1 with the bar, as WCAG 1.4.11 has it: a tint alone is 1.2 to 1."""
    colours = """() => {
        const of = (selector) => getComputedStyle(document.querySelector(selector));
        const { borderTopColor } = of("[aria-checked=true]");
        return [borderTopColor, of("#tools").backgroundColor].map((colour) => colour.match(/[\\d.]+/g).map(Number));
    }"""
    with page_at(browser, site.url, color_scheme=scheme) as page:
        edge, bar = (np.array(colour) for colour in page.evaluate(colours))
        assert edge.size == bar.size == 3  # no alpha
        light = [
            float(np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722))
            for c in (edge / 255, bar / 255)
        ]
        assert (max(light) + 0.05) / (min(light) + 0.05) >= 3


@pytest.mark.parametrize("size", [{"width": 1280, "height": 420}, PHONE])
def test_of_many_results_the_one_that_is_shown_is_in_sight(browser, site, size):
    with page_at(browser, site.url, viewport=size) as page:
        open_photo(page, encoded(photo()))

        def number_in_sight():
            strip = page.locator("#versions").bounding_box()
            box = page.locator("#versions [aria-current=true]").bounding_box()
            for side, length in (("x", "width"), ("y", "height")):
                assert strip[side] <= box[side]
                assert box[side] + box[length] <= strip[side] + strip[length]
            return page.inner_text("#versions [aria-current=true]")

        for number in range(1, 7):
            drag(page, (0.45, 0.5), (0.5, 0.5))
            fill(page)
            assert number_in_sight() == f"Result {number}"
        page.locator("#versions button").first.click()
        page.click("#undo")
        assert number_in_sight() == "Result 6"
        page.click("#redo")
        assert number_in_sight() == "Original"
        drag(page, (0.45, 0.5), (0.5, 0.5))
        page.locator("#versions button").last.scroll_into_view_if_needed()
        drag(page, (0.45, 0.6), (0.5, 0.6))
        scrolled = (
            "(({ scrollTop, scrollLeft }) => scrollTop + scrollLeft)(document.querySelector('#versions'))"
        )
        assert page.evaluate(scrolled) > 0  # painting leaves the list where it was scrolled to


@pytest.mark.parametrize(("width", "rows"), [(280, 2), (320, 2), (599, 2), (600, 1), (667, 1)])
def test_all_tools_fit_a_narrow_window(browser, site, width, rows):
    """320: the narrowest phones, and a desktop's window at four times its size; 600 and more: a phone that lies."""
    with page_at(browser, site.url, viewport={"width": width, "height": 375}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = [button.bounding_box() for button in page.locator("#tools button").all()]
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= width and box["width"] >= 24 for box in boxes)
        assert page.locator("#tools").bounding_box()["height"] < 60 * rows


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("shape", [(400, 100), (100, 400), (320, 240)])
def test_nothing_floats_over_the_photo(browser, site, size, shape):
    """Neither over its corners, nor where the first result brings the history."""
    covered = """async () => {
        const { view } = await import("/state.js");
        const canvas = document.querySelector("#canvas").getBoundingClientRect();
        const [left, top] = [view.x + canvas.left, view.y + canvas.top];
        const [right, bottom] = [left + view.photo.width * view.scale, top + view.photo.height * view.scale];
        return ["view", "versions"].filter((id) => {
            const box = document.getElementById(id).getBoundingClientRect();
            return box.left < right && box.right > left && box.top < bottom && box.bottom > top;
        });
    }"""
    with page_at(browser, site.url, viewport=size) as page:
        open_photo(page, encoded(photo(*shape)))
        assert page.evaluate(covered) == []
        drag(page, (0.49, 0.5), (0.51, 0.5))
        fill(page)
        page.wait_for_timeout(100)
        assert page.evaluate(covered) == []


def test_at_four_times_its_size_all_is_reached_by_scrolling(browser, site):
    """320 x 256, as a window of 1280 x 1024 at 400 %: down alone, and the photo is as large as a thumb at least."""
    with page_at(browser, site.url, viewport={"width": 320, "height": 256}) as page:
        page.click("[data-sample=rocket]")
        page.wait_for_selector("#complete:enabled")
        page.keyboard.press("Delete")
        page.locator("#canvas").scroll_into_view_if_needed()
        drag(page, (0.45, 0.5), (0.5, 0.5))
        hole = mask_of(page)
        assert hole.any()
        fill(page)
        page.click("#notice [aria-label=Close]")
        page.click("#compare")
        page.click("#undo")
        assert np.array_equal(mask_of(page), hole)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        boxes = page.locator("#canvas, #view, #tools, .bar").evaluate_all(
            "all => all.map((e) => e.getBoundingClientRect()).map((b) => [b.top, b.bottom]).sort((a, b) => a[0] - b[0])"
        )
        assert all(upper[1] <= lower[0] for upper, lower in itertools.pairwise(boxes))
        assert page.locator("#canvas").bounding_box()["height"] >= 160


def test_fingers_paint_and_pinch(browser, site):
    """One finger paints; a second one turns the stroke into a zoom, and nothing is painted."""
    options = {"viewport": PHONE, "has_touch": True, "is_mobile": True}
    with page_at(browser, site.url, **options) as page:
        open_photo(page, encoded(photo()))
        send = page.context.new_cdp_session(page).send

        def touch(kind: str, *points: tuple[int, int]) -> None:
            named = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
            send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": named})

        fitted = page.inner_text("#zoom")
        touch("touchStart", (150, 350))
        touch("touchMove", (155, 350))
        touch("touchStart", (155, 350), (220, 350))
        touch("touchMove", (120, 350), (280, 350))
        touch("touchEnd")
        until(page, f"document.querySelector('#zoom').textContent !== '{fitted}'")
        assert page.is_disabled("#undo")
        touch("touchStart", (150, 350))
        touch("touchMove", (200, 360))
        touch("touchEnd")
        page.wait_for_selector("#undo:enabled")
        assert mask_of(page).any()


def test_text_at_twice_its_size(browser, site):
    """200 %: as a window of half the size; all buttons can still be reached."""
    with page_at(browser, site.url, viewport={"width": 640, "height": 400}, device_scale_factor=2) as page:
        page.click("[data-sample=rocket]")
        page.wait_for_selector("#complete:enabled")
        for button in page.locator("button:visible").all():
            box = button.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 640 and box["y"] + box["height"] <= 400


def test_a_token_is_asked_for_or_taken_from_the_address(browser):
    with serving(token="a-long+secret") as site:
        with page_at(browser, f"{site.url}/#token=a-long%2Bsecret") as page:
            assert page.inner_text("#model-name") == "telea"
            assert "secret" not in page.url
        context = browser.new_context()
        page = context.new_page()
        page.goto(site.url)
        for _ in range(3):  # Escape is no answer
            page.keyboard.press("Escape")
            page.wait_for_selector("#token[open]")
        said = page.locator("#token-error")
        assert said.text_content() == ""
        for wrong in ("wrong-secret", "pässwörd-漢字"):
            page.fill("#token-text", wrong)
            page.keyboard.press("Enter")
            until(page, "document.querySelector('#token-error').textContent.includes('not this server')")
            page.reload()
            page.wait_for_selector("#token[open]")
        page.fill("#token-text", "a-long+secret")
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-ready]", state="attached")
        assert page.inner_text("#model-name") == "telea"
        context.close()


def test_folders(browser, tmp_path):
    (tmp_path / "shots").mkdir()
    (tmp_path / "done").mkdir()
    (tmp_path / "shots" / "one.png").write_bytes(encoded(photo()))
    settings = Settings(model="telea", input=tmp_path / "shots", output=tmp_path / "done")
    with serving(settings) as site, page_at(browser, site.url, expected=("409", "ERR_FAILED")) as page:
        page.click("#folder")
        page.route("**/api/v1/photos/one.png", lambda route: route.abort())
        page.click("#photo-list button")
        until(
            page,
            "document.querySelector('#welcome-error').textContent.includes('The server cannot be reached')",
        )
        page.unroute("**/api/v1/photos/one.png")
        page.click("#folder")
        page.click("#photo-list button")
        page.wait_for_selector("#complete:enabled")
        drag(page, (0.45, 0.5), (0.5, 0.5))
        fill(page)
        page.click("#store")
        until(page, "document.querySelector('#notice').textContent.includes('one-completed.png')")
        assert (tmp_path / "done" / "one-completed.png").read_bytes() == downloaded(page, "#download")[1]
        for number in (2, 3):
            page.click("#store")
            until(
                page, f"document.querySelector('#notice').textContent.includes('one-completed-{number}.png')"
            )
        assert len(list((tmp_path / "done").iterdir())) == 3
        open_photo(page, encoded(photo()), "at 12:30?.png")
        page.click("#store")
        until(page, "document.querySelector('#notice').textContent.includes('at 12-30--original.png')")
        for letter, most in (("a", 180), ("ä", 90), ("\N{CAMERA}", 45)):
            open_photo(page, encoded(photo()), f"{200 * letter}.png")
            page.click("#store")
            name = f"{most * letter}-original.png"
            until(page, f"document.querySelector('#notice').textContent.includes(' {name}')")
            assert (tmp_path / "done" / name).exists()


def test_files_are_named_by_what_they_are(browser, tmp_path):
    """A JPEG that is named .png is a JPEG; a suffix that is right stays as it is."""
    settings = Settings(model="telea", input=tmp_path, output=tmp_path)
    (tmp_path / "old.png").write_bytes(encoded(photo(), "jpeg"))
    with serving(settings) as site, page_at(browser, site.url) as page:
        for name, kind, media, original, completed in [
            ("a.png", "jpeg", "image/png", "a-original.jpg", "a-completed.jpg"),
            ("b.JPEG", "jpeg", "image/jpeg", "b-original.JPEG", "b-completed.JPEG"),
            ("c.jpg", "tiff", "image/jpeg", "c-original.tif", "c-completed.tif"),
            ("d", "webp", "", "d-original.webp", "d-completed.webp"),
        ]:
            data = encoded(photo(), kind)
            open_photo(page, data, name, media)
            assert downloaded(page, "#download") == (original, data)
            page.click("#store")
            until(page, f"document.querySelector('#notice').textContent.includes('{original}')")
            drag(page, (0.45, 0.5), (0.5, 0.5))
            fill(page)
            got, data = downloaded(page, "#download")
            assert (got, Image.open(io.BytesIO(data)).format) == (completed, kind.upper())
            page.click("#store")
            until(page, f"document.querySelector('#notice').textContent.includes('{completed}')")
            assert (tmp_path / completed).read_bytes() == data
        page.click("#folder")
        page.click("#photo-list button[title='old.png']")
        until(page, "document.querySelector('#notice').textContent.includes('Opened')")
        assert downloaded(page, "#download")[0] == "old-original.jpg"


def test_photos_of_the_folder_are_found_by_name(browser, tmp_path):
    for number in range(1, 13):
        (tmp_path / f"Summer {number}.png").write_bytes(encoded(photo()))
    (tmp_path / "winter.png").write_bytes(encoded(photo()))
    with serving(Settings(model="telea", input=tmp_path)) as site, page_at(browser, site.url) as page:
        page.click("#folder")
        found = page.locator("#photo-list li:visible")
        until(page, "document.querySelectorAll('#photo-list li').length === 13")
        assert found.all_inner_texts()[:2] == ["Summer 1.png", "Summer 2.png"]  # 10 comes later
        seen = "[...document.querySelectorAll('#photo-list img')].filter((one) => one.naturalWidth)"
        until(page, f"{seen}.length > 3 && {seen}[0].naturalWidth <= 256")
        page.keyboard.type("12 sum")  # the search has the focus
        assert found.all_inner_texts() == ["Summer 12.png"]
        assert page.inner_text("#photo-count") == "1 of 13 photos"
        page.keyboard.press("Enter")
        page.wait_for_selector("#complete:enabled")
        assert downloaded(page, "#download")[0] == "Summer 12-original.png"


def test_a_folder_is_gone_through_by_keys(browser, tmp_path):
    """Arrow keys go from photo to photo, and on from the one that was opened last."""
    for number in range(12):
        (tmp_path / f"{number}.png").write_bytes(encoded(photo(32, 24)))
    focused = "document.activeElement.title"
    with serving(Settings(model="telea", input=tmp_path)) as site, page_at(browser, site.url) as page:
        for number in range(3):
            page.locator("#folder").press("Enter")
            page.wait_for_selector("#photo-search:focus")
            page.keyboard.press("ArrowDown")
            assert page.evaluate(focused) == str(max(0, number - 1)) + ".png"
            if number:
                assert page.get_attribute("[aria-current=true][title]", "title") == f"{number - 1}.png"
                page.keyboard.press("ArrowDown")
                page.keyboard.press("ArrowUp")
                page.keyboard.press("ArrowRight")
            page.keyboard.press("Enter")
            until(page, f"document.title.startsWith('{number} ')")
            until(page, "import('/state.js').then(({ state }) => !state.job)")


def test_the_page_says_where_photos_go_and_what_is_kept(browser, tmp_path):
    for output in (None, tmp_path):
        with serving(Settings(model="telea", output=output), hosts=["photos.example"]) as site:
            number = site.address[1]
            for host in ("127.0.0.1", "localhost", "photos.example"):
                with page_at(browser, f"http://{host}:{number}", expected=("Cross-Origin-Opener",)) as page:
                    said = page.inner_text("#welcome")
                assert ("stay on this machine" in said) == (host != "photos.example")
                assert (f"go to photos.example:{number} and no further" in said) == (host == "photos.example")
                assert ("Nothing is stored" in said) == (output is None)
                assert ("Only what you store is kept" in said) == (output is not None)


def picture(path: str) -> None:
    """The picture of the README: the portrait, completed, under the slider of before and after."""
    with serving(Settings(seconds=600)) as site, chromium() as browser:
        ready(site)
        with page_at(browser, site.url, viewport={"width": 1120, "height": 720}) as page:
            page.click("[data-sample=astronaut]")
            page.wait_for_selector("#complete:enabled")
            page.click("#complete")
            page.wait_for_selector("#versions li", timeout=120_000)
            page.wait_for_timeout(7000)  # the notice goes
            page.click("#compare")
            page.focus("#download")
            page.wait_for_timeout(300)
            page.screenshot(path=path, quality=88)


if __name__ == "__main__":
    picture(sys.argv[1])
