"""Makes the example photographs and masks that the package ships, from scikit-image's public-domain pictures."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage import data

from retouch import masks

TARGET = Path(__file__).parents[1] / "src" / "retouch" / "examples"
MAST = [
    (438, 385),
    (440, 300),
    (443, 210),
    (443, 120),
    (451, 120),
    (455, 210),
    (466, 300),
    (478, 385),
]  # x, y
TRIPOD = [  # from, to, width: x, y
    ((293, 214), (293, 486), 14),
    ((301, 246), (301, 278), 12),  # and what is seen of the sleeve behind it
    ((286, 330), (230, 511), 14),
    ((282, 345), (244, 511), 16),
    ((309, 330), (410, 511), 14),
    ((280, 328), (310, 328), 40),
    ((308, 317), (338, 303), 13),
    ((236, 494), (244, 490), 22),
    ((252, 466), (290, 483), 12),
    ((248, 493), (292, 484), 12),
    ((292, 484), (390, 481), 12),
    ((386, 478), (394, 484), 18),
]


def main() -> None:
    TARGET.mkdir(exist_ok=True)
    astronaut = data.astronaut()  # NASA, public domain
    Image.fromarray(astronaut).save(TARGET / "astronaut.jpg", quality=92)
    size = astronaut.shape[:2]
    damage = masks.draw("scratches", *size, ratio=(0.02, 0.03), seed=4)
    damage |= masks.draw("text", *size, ratio=(0.05, 0.06), seed=3)
    Image.fromarray(masks.to_image(damage)).save(TARGET / "astronaut-mask.png", optimize=True)

    rocket = data.rocket()  # SpaceX, CC0: a lightning mast is to go
    Image.fromarray(rocket).save(TARGET / "rocket.jpg", quality=92)
    mast = cv2.fillPoly(np.zeros(rocket.shape[:2], np.uint8), [np.array(MAST)], 255)
    mast = cv2.dilate(mast, np.ones((13, 13), np.uint8))
    Image.fromarray(mast).save(TARGET / "rocket-mask.png", optimize=True)

    camera = data.camera()  # Lav Varshney, CC0: the tripod is to go
    Image.fromarray(camera).save(TARGET / "camera.jpg", quality=92)
    tripod = np.zeros(camera.shape, np.uint8)
    for start, end, width in TRIPOD:
        cv2.line(tripod, start, end, 255, width)
    Image.fromarray(tripod).save(TARGET / "camera-mask.png", optimize=True)


if __name__ == "__main__":
    main()
