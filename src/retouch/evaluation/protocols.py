"""The papers' experiments as frozen settings, with their printed figures: ``retouch evaluate --protocol NAME``.

A protocol fixes all that decides a figure but the photographs, which the user names; ``data`` says which kind
the paper took. ``differences`` lists in plain words where our terms are not the paper's, because it took other
data or does not say. The reports print them under the table.
"""

from dataclasses import dataclass
from typing import Literal

from retouch.errors import DataError


@dataclass(frozen=True, slots=True)
class Printed:
    """One column of a paper's table.

    Args:
        label: the paper's name for it.
        table: where it stands.
        masks: the holes, as in ``Protocol.masks``; empty: the paper does not tell them apart.
        figures: metric -> the value as it is printed, in the units of ``metrics.METRICS``.
        own: whether they are of the method that the paper presents, and not of one that it compares with.
    """

    label: str
    table: str
    masks: str
    figures: dict[str, str]
    own: bool = True


@dataclass(frozen=True, slots=True)
class Protocol:
    """One paper's experiment.

    Args:
        paper: authors and year.
        data: the photographs that the paper took.
        photos: how many are measured, as in the paper where it says so.
        size: side in px of the square cut from the middle of each photo.
        masks: as ``--masks`` takes them.
        metrics: names in the paper's order.
        layout: ``across``: models side by side, a line per metric and kind of hole; ``down``: a line per model.
        differences: what is not as in the paper.
        printed: the paper's own table.
    """

    paper: str
    data: str
    photos: int
    size: int
    masks: tuple[str, ...]
    metrics: tuple[str, ...]
    layout: Literal["across", "down"]
    differences: tuple[str, ...]
    printed: tuple[Printed, ...] = ()


BINS = ("strokes:0.1-0.2", "strokes:0.2-0.3", "strokes:0.3-0.4")
CENTER = "center:0.25-0.25"  # 32 x 32 of 64 x 64
SMALL_CENTER = "center:0.0976-0.0977"  # 20 x 20 of 64 x 64: the nearest square to 10 %


def _by_bin(
    label: str, table: str, *, own: bool = True, **figures: tuple[str, str, str]
) -> tuple[Printed, ...]:
    """One model of Baik's tables: three hole-ratio bins of each metric."""
    return tuple(
        Printed(label, table, masks, {metric: values[number] for metric, values in figures.items()}, own)
        for number, masks in enumerate(BINS)
    )


PROTOCOLS: dict[str, Protocol] = {
    "wgan": Protocol(
        paper="Chandak, Saxena, Pattanaik, Kaushal 2019",
        data="CelebA-HQ faces, about 1,000 of them for testing",
        photos=1000,
        size=64,
        masks=(CENTER,),
        metrics=("psnr", "psnr_pooled", "ssim"),
        layout="across",
        printed=(
            Printed("CE [12], printed", "Tables 1, 2", "", {"psnr": "22.85", "ssim": "0.872"}, own=False),
            Printed("PI [1], printed", "Tables 1, 2", "", {"psnr": "21.45", "ssim": "0.851"}, own=False),
            Printed("this work, printed", "Tables 1, 2", "", {"psnr": "23.41", "ssim": "0.9074"}),
        ),
        differences=(
            "The photographs are those given with --data, not the paper's draw from CelebA-HQ.",
            "The paper shows its holes in figures only and gives no share: here a 32 x 32 square in the middle, "
            "a quarter of the picture.",
            "The paper does not say whether it averages PSNR per image: here it does; the pooled figure stands "
            "beside it.",
            "The paper gives no constants or window for SSIM: here those of Wang et al. 2004.",
        ),
    ),
    "dcgan_direct": Protocol(
        paper="Ansaerjiang, Jiang, Song, Xie",
        data="CelebA, faces cropped in the middle",
        photos=1000,
        size=64,
        masks=(CENTER, "boxes:0.1-0.3"),
        metrics=("l1", "psnr", "ssim"),
        layout="down",
        differences=(
            "The paper prints no figures: there is no column to compare with.",
            "It neither counts its test photographs nor describes its holes: both are ours.",
        ),
    ),
    "dcgan_search": Protocol(
        paper="Swaroop, Sanjith, Tushar, Koolagudi, Akhila",
        data="CelebA, faces cropped to 64 x 64 by OpenFace",
        photos=1000,
        size=64,
        masks=(CENTER, SMALL_CENTER),
        metrics=("mse", "ssim"),
        layout="down",
        printed=(
            Printed("mean squared error, printed", "its table", "", {"mse": "441.68", "ssim": "0.73"}),
            Printed("softmax cross-entropy, printed", "its table", "", {"mse": "125.10", "ssim": "0.84"}),
            Printed("sigmoid cross-entropy, printed", "its table", "", {"mse": "105.76", "ssim": "0.87"}),
        ),
        differences=(
            "The photographs are those given with --data, in their own crop, not aligned by OpenFace.",
            "The paper does not give the share of its holes: a 32 x 32 square (25 %) and one of 20 x 20 (10 %).",
            "It took scikit-image's SSIM with settings that it does not name (the default is a uniform 7 x 7 "
            "window): here the Gaussian window of Wang et al. 2004.",
        ),
    ),
    "glcic": Protocol(
        paper="Nalla",
        data="CIFAR-10, 5 % of it (3,000 pictures) for testing",
        photos=3000,
        size=32,
        masks=("rectangle:0.05-0.4",),
        metrics=("mse", "psnr", "ssim"),
        layout="down",
        differences=(
            "The paper prints no figures: there is no column to compare with.",
            "It gives no sizes for its random rectangle: here 5 to 40 % of the picture.",
            "A copy of CIFAR-10 in JPEG gives figures that are not comparable to lossless ones to the decimal.",
        ),
    ),
    "recurrent": Protocol(
        paper="Baik",
        data="CelebA-HQ with faces from a web search (Table 1), Places365's test set (Table 2)",
        photos=1000,
        size=256,
        masks=BINS,
        metrics=("l1", "l2", "perceptual", "psnr", "ssim"),
        layout="across",
        printed=(
            *_by_bin(
                "Gated, faces, printed",
                "Table 1",
                own=False,
                l1=("4.95", "6.54", "9.86"),
                l2=("1.47", "2.03", "4.38"),
                perceptual=("0.431", "0.592", "0.813"),
                psnr=("29.575", "27.853", "24.026"),
                ssim=("0.933", "0.904", "0.849"),
            ),
            *_by_bin(
                "Edge, faces, printed",
                "Table 1",
                own=False,
                l1=("5.79", "6.70", "9.19"),
                l2=("1.32", "1.54", "2.79"),
                perceptual=("0.554", "0.632", "0.794"),
                psnr=("29.803", "28.748", "25.888"),
                ssim=("0.917", "0.898", "0.854"),
            ),
            *_by_bin(
                "Plural, faces, printed",
                "Table 1",
                own=False,
                l1=("4.11", "6.32", "10.12"),
                l2=("1.47", "2.72", "4.81"),
                perceptual=("0.358", "0.512", "0.739"),
                psnr=("29.693", "27.847", "24.468"),
                ssim=("0.941", "0.912", "0.854"),
            ),
            *_by_bin(
                "Baik, faces, printed",
                "Table 1",
                l1=("5.76", "6.54", "8.76"),
                l2=("1.28", "1.43", "2.58"),
                perceptual=("0.542", "0.604", "0.762"),
                psnr=("29.920", "29.152", "26.012"),
                ssim=("0.920", "0.905", "0.863"),
            ),
            *_by_bin(
                "Gated, places, printed",
                "Table 2",
                own=False,
                l1=("14.25", "16.47", "28.24"),
                l2=("12.25", "12.80", "25.62"),
                perceptual=("0.682", "0.927", "1.311"),
                psnr=("23.311", "21.617", "19.114"),
                ssim=("0.899", "0.858", "0.769"),
            ),
            *_by_bin(
                "Edge, places, printed",
                "Table 2",
                own=False,
                l1=("12.70", "15.52", "27.55"),
                l2=("10.03", "11.17", "22.06"),
                perceptual=("0.592", "0.847", "1.205"),
                psnr=("24.112", "22.270", "20.104"),
                ssim=("0.898", "0.856", "0.768"),
            ),
            *_by_bin(
                "Plural, places, printed",
                "Table 2",
                own=False,
                l1=("14.60", "18.89", "32.087"),
                l2=("10.53", "13.89", "26.217"),
                perceptual=("0.718", "1.001", "1.413"),
                psnr=("22.835", "21.313", "18.890"),
                ssim=("0.880", "0.832", "0.729"),
            ),
            *_by_bin(
                "Baik, places, printed",
                "Table 2",
                l1=("11.82", "14.02", "24.840"),
                l2=("9.99", "10.53", "19.999"),
                perceptual=("0.546", "0.775", "1.118"),
                psnr=("24.237", "22.572", "20.308"),
                ssim=("0.907", "0.871", "0.789"),
            ),
        ),
        differences=(
            "The photographs are those given with --data, not the paper's CelebA-HQ and Places365.",
            "The paper's irregular masks are not published with it: here seeded strokes in the same bins.",
            "Its L1 and L2 do not follow from its PSNR over the whole picture (29.92 dB are a mean squared error "
            "of 0.1 %, the table has 1.28 %): compare these two columns between models of one source only.",
            "Its perceptual loss is on VGG-19; the network named with --features may be a distilled one, whose "
            "features differ in scale.",
        ),
    ),
}


def protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        DataError: there is none.
    """
    if name not in PROTOCOLS:
        raise DataError(f"expected a protocol among {', '.join(PROTOCOLS)}, got {name!r}")
    return PROTOCOLS[name]
