"""How a prediction meets the known pixels around a hole: it is corrected, in the hole only, so that it fits.

Both ways take the *border error*, what the prediction lacks along the hole's border, and spread it into the
hole: `feather` smoothly over a few px, `poisson` harmonically over the whole hole, which keeps the
prediction's gradients (P. Perez, M. Gangnet, A. Blake, "Poisson image editing", 2003, equation 5).
"""

import cv2
import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

SAME = 1 / 255  # a prediction this close to all known pixels of the border has pasted them
CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32)
COARSEST = 8  # px: below this side no smaller grid helps
STEPS = 200  # at most, per grid
CLOSE = 1e-4  # greatest residual at which the solution is taken


def feather(prediction: Floats, image: Floats, known: Bools, hidden: Bools, width: int) -> Floats:
    """Mix the prediction with a smooth continuation of the border error, over ``width`` px inside the hole.

    Args:
        prediction: (h, w, 3) RGB in [0, 1].
        image: (h, w, 3) RGB in [0, 1], read where ``known``.
        known: (h, w), pixels that the prediction has to meet.
        hidden: (h, w), pixels that were predicted; none of them is ``known``.
        width: of the band along the border, in px, at least 1; more than the longer side counts as that.

    Returns:
        (h, w, 3); differs from ``prediction`` only where ``hidden``.
    """
    border, error = border_error(prediction, image, known, hidden)
    if not border.any():
        return prediction
    width = min(width, max(known.shape))
    sigma = max(1.0, width / 2)
    spread = cv2.GaussianBlur(error, (0, 0), sigma)
    weight = cv2.GaussianBlur(border.astype(np.float32), (0, 0), sigma)
    distance = cv2.distanceTransform((~known).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    share = np.clip(1 - (distance - 1) / width, 0, 1)
    share = np.where(hidden, share * share * (3 - 2 * share), 0) / np.maximum(weight, np.float32(1e-6))
    return prediction + spread * share[..., None].astype(np.float32)


def poisson(prediction: Floats, image: Floats, known: Bools, hidden: Bools) -> Floats:
    """Keep the prediction's gradients, and correct the rest: arguments and result as `feather`.

    The border error is continued into the hole as the solution of Laplace's equation; where hidden pixels
    reach the window's edge the equation has no flow across it.
    """
    border, error = border_error(prediction, image, known, hidden)
    if not border.any():
        return prediction
    rows, cols = np.flatnonzero((border | hidden).any(axis=1)), np.flatnonzero((border | hidden).any(axis=0))
    near = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
    corrected = prediction.copy()
    corrected[near] += harmonic(error[near], border[near], hidden[near]) * hidden[near][..., None]
    return corrected


def border_error(prediction: Floats, image: Floats, known: Bools, hidden: Bools) -> tuple[Bools, Floats]:
    """Known pixels that touch the hole, and how much the prediction lacks there (0 elsewhere).

    Two figures speak of it: the known pixel minus what the model makes of it, and minus the mean of its predicted
    neighbours across the border. Each may be wrong, the first of a model that was never judged outside the hole,
    the second where an edge of the picture lies on the border: so the smaller is taken, where both have the same
    sign. A predictor that pastes the known pixels into what it returns says nothing by the first: then the second.

    Args:
        prediction, image: (h, w, 3) float32 RGB in [0, 1].
        known, hidden: (h, w) bool; what is neither counts for nothing.

    Returns:
        The border, (h, w) bool, and the error, (h, w, 3) float32.
    """
    border = known & (cv2.dilate(hidden.view(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    at = border[..., None]
    error = np.where(at, image - prediction, np.float32(0))
    total = cv2.boxFilter(prediction * hidden[..., None], -1, (3, 3), normalize=False)
    count = cv2.boxFilter(hidden.astype(np.float32), -1, (3, 3), normalize=False)
    across = np.where(at, image - total / np.maximum(count, 1)[..., None], np.float32(0))
    if np.abs(error).max(initial=0) <= SAME:
        return border, across
    smaller = np.copysign(np.minimum(np.abs(error), np.abs(across)), error)
    return border, np.where(error * across > 0, smaller, np.float32(0))


def harmonic(values: Floats, fixed: Bools, free: Bools) -> Floats:
    """Solve Laplace's equation on ``free`` with ``values`` given on ``fixed``.

    By conjugate gradients, from the solution at half the size, so that few steps are enough.

    Args:
        values: (h, w, C).
        fixed: (h, w), at least one pixel.
        free: (h, w), disjoint from ``fixed``; all other pixels are walls.

    Returns:
        (h, w, C), meaningful where ``free`` or ``fixed``; off by less than 1 / 255 where fixed pixels are all around
        the free ones, by up to three times as much where some of these reach the edge.
    """
    height, width = fixed.shape
    if min(height, width) > COARSEST:
        coarse = harmonic(*_halved(values, fixed, free))
        start = cv2.resize(coarse, (2 * coarse.shape[1], 2 * coarse.shape[0]), interpolation=cv2.INTER_LINEAR)
        start = start[:height, :width].reshape(values.shape)
    else:
        start = np.broadcast_to(values[fixed].mean(axis=0), values.shape)
    inside = free[..., None].astype(np.float32)
    solution = np.where(fixed[..., None], values, start * inside).astype(np.float32)
    degree = _around((fixed | free).astype(np.float32))[..., None]

    residual = (_around(solution) - degree * solution) * inside
    direction, size = residual, float(np.vdot(residual, residual))
    for _ in range(STEPS):
        if float(np.abs(residual).max()) < CLOSE:
            break
        image = (degree * direction - _around(direction)) * inside
        step = np.float32(size / float(np.vdot(direction, image)))
        solution = solution + step * direction
        residual = residual - step * image
        previous, size = size, float(np.vdot(residual, residual))
        direction = residual + np.float32(size / previous) * direction
    return solution


def _around(values: Floats) -> Floats:
    """The sum of the four neighbours, 0 beyond the edge; the shape of ``values``."""
    total = np.empty(values.shape, np.float32)
    total[:] = cv2.filter2D(values, -1, CROSS, borderType=cv2.BORDER_CONSTANT).reshape(values.shape)
    return total


def _halved(values: Floats, fixed: Bools, free: Bools) -> tuple[Floats, Bools, Bools]:
    """The same problem at half the size: a pixel is fixed, at the mean, where any of the four is."""
    pad = ((0, fixed.shape[0] % 2), (0, fixed.shape[1] % 2), (0, 0))

    def summed(grid: Floats) -> Floats:
        full = np.pad(grid, pad)
        return full[0::2, 0::2] + full[1::2, 0::2] + full[0::2, 1::2] + full[1::2, 1::2]

    count = summed(fixed[..., None].astype(np.float32))
    mean: Floats = np.divide(summed(values * fixed[..., None]), np.maximum(count, 1))
    coarse = count[..., 0] > 0
    return mean, coarse, (summed(free[..., None].astype(np.float32))[..., 0] > 0) & ~coarse
