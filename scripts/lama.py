"""LaMa in Retouch, as a model of your own: `retouch complete photo.jpg mask.png --model scripts/lama.py`.

Suvorov et al., "Resolution-robust Large Mask Inpainting with Fourier Convolutions" (WACV 2022), as exported to ONNX:
inputs image (1, 3, S, S) in [0, 1] and mask (1, 1, S, S), 1 = missing, output (1, 3, S, S) in [0, 255], S fixed. The
file that the variable LAMA names is run; without it, Carve/LaMa-ONNX of the Hugging Face hub (208 MB, once).
"""

import os

import numpy as np
import onnxruntime
from huggingface_hub import hf_hub_download

import retouch


class LaMa:
    def __init__(self, path: str) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        size = self.session.get_inputs()[0].shape[3]
        self.limits = retouch.Limits(native=size, multiple=size, largest=size)

    def __call__(self, image: np.ndarray, hole: np.ndarray, *, seed: int) -> np.ndarray:
        windows = [{"image": image[i : i + 1], "mask": hole[i : i + 1]} for i in range(len(image))]
        return np.concatenate([self.session.run(None, window)[0] for window in windows]) / 255


def predictor() -> LaMa:
    return LaMa(os.environ.get("LAMA") or hf_hub_download("Carve/LaMa-ONNX", "lama_fp32.onnx"))
