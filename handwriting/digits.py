"""Somebody's own digits on a grey picture, brought into MNIST's form."""

import numpy as np
from PIL import Image
from scipy import ndimage


def _resized(grey, height, width):
    """A float array scaled to [height, width] without aliasing."""
    image = Image.fromarray(grey.astype(np.float32)).resize((width, height), Image.Resampling.HAMMING)
    return np.asarray(image)


def find_digits(grey):
    """The digits in a grey picture, in MNIST's form and in reading order.

    grey: float array [height, width] in [0, 1], at least 8×8; pen dark on light or light on dark. Returns a list of
    lines, from top to bottom, of digits, from left to right: pairs of a box (top, left, bottom, right) in pixels and a
    uint8 array [28, 28], ink bright on black. It is empty where there is no ink. A digit is brought into the form the
    way MNIST was made (LeCun et al., "Gradient-based learning applied to document recognition", 1998): cut out, scaled
    with its aspect kept until the longer side has 20 pixels, anti-aliased, and centred by its centre of mass. A picture
    that is in this form already stays as it is.
    """
    if _is_mnist_like(grey):
        return [[((0, 0, 28, 28), np.rint(grey * 255).astype(np.uint8))]]
    ink = _ink(grey)
    boxes = _digit_boxes(ink)
    lines = _reading_order([box for box, _ in boxes])
    return [[(_edges(boxes[number][0]), _mnist_form(ink, *boxes[number])) for number in line] for line in lines]


def _edges(box):
    """The (top, left, bottom, right) of a pair of slices."""
    rows, columns = box
    return rows.start, columns.start, rows.stop, columns.stop


def _is_mnist_like(grey):
    """Whether a picture is 28×28, bright on black, at most 20×20 of ink, centred by its mass."""
    if grey.shape != (28, 28) or grey.max() < 0.3 or np.median(grey) > 0:
        return False
    rows, columns = (np.flatnonzero(grey.any(axis)) for axis in (1, 0))
    centre = np.array(ndimage.center_of_mass(grey))
    return max(np.ptp(rows), np.ptp(columns)) < 20 and abs(centre - 14).max() < 1.5


def _ink(grey):
    """How much ink there is at each pixel: about 1 in a stroke, 0 on paper; all 0 where there is none."""
    smooth = ndimage.gaussian_filter(grey, max(grey.shape) / 1000)
    # Paper is the plane that most pixels are near; ink is the minority on one side of it.
    residual = smooth - _plane(smooth)
    if (residual**3).mean() < 0:
        smooth = 1 - smooth
    # Whatever is wider than a stroke is paper, light or in the shadow: an opening keeps it, and is taken off.
    scale = min(1, 200 / max(grey.shape))
    small = ndimage.zoom(smooth, scale, order=1) if scale < 1 else smooth
    window = max(3, round(0.3 * max(small.shape)))
    paper = ndimage.gaussian_filter(ndimage.grey_opening(small, (window, window), mode="nearest"), 1)
    if scale < 1:
        paper = ndimage.zoom(paper, np.array(grey.shape) / paper.shape, order=1)
    # Ink takes away a share of the light there is, so that in the shadow it stands out less: divide by the light.
    ink = np.clip(smooth - paper, 0, None) / np.maximum(1 - paper, 0.3)
    threshold = _otsu(ink)
    noise = np.median(np.abs(ink - np.median(ink)))
    stroke, ground = ink[ink > threshold], np.median(ink)
    if not len(stroke) or np.median(stroke) - ground < max(0.08, 6 * noise):
        return np.zeros_like(ink)
    return np.clip((ink - ground - 2 * noise) / (np.percentile(stroke, 60) - ground - 2 * noise), 0, 1)


def _plane(grey):
    """The plane z = a + b·row + c·column nearest to most pixels: least squares, the farthest left out in turn."""
    step = max(1, max(grey.shape) // 100)
    values = grey[::step, ::step]
    rows, columns = np.indices(values.shape)
    terms = np.stack([np.ones(values.size), rows.ravel(), columns.ravel()], axis=1)
    near = np.ones(values.size, bool)
    for _ in range(10):
        plane = np.linalg.lstsq(terms[near], values.ravel()[near], rcond=None)[0]
        distance = np.abs(terms @ plane - values.ravel())
        near = distance <= np.quantile(distance, 0.6)
    rows, columns = np.ogrid[: grey.shape[0], : grey.shape[1]]
    return plane[0] + plane[1] * rows / step + plane[2] * columns / step


def _otsu(values):
    """The threshold that parts values best into two classes (Otsu, 1979)."""
    counts, edges = np.histogram(values, 256)
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    mean_below = np.cumsum(counts * centres) / np.maximum(below, 1)
    mean_above = (np.sum(counts * centres) - np.cumsum(counts * centres)) / np.maximum(above, 1)
    return centres[np.argmax(below * above * (mean_below - mean_above) ** 2)]


def _digit_boxes(ink):
    """The digits in the ink: a list of (box, mask of the digit within the box); a box is a pair of slices.

    Specks, ruled lines and the paper's edge are left out; the parts of a broken digit are joined.
    """
    height, width = ink.shape
    mask = ink > 0.3
    # A ruled line spans the page and is thin; what crosses it stays.
    for along, across in ((1, 0), (0, 1)):
        length = mask.shape[along]
        run = _opened(~_opened(~mask, length // 20 + 1, along), int(0.85 * length), along)  # gaps closed first
        line = run & ~_opened(run, max(3, mask.shape[across] // 25), across)
        crossed = ndimage.maximum_filter1d(mask & ~line, 5, axis=across)
        mask = mask & (~line | crossed)
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    boxes = ndimage.find_objects(parts)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]

    def extent(box):
        return box[0].stop - box[0].start, box[1].stop - box[1].start

    def touches(box):
        return box[0].start == 0 or box[1].start == 0 or box[0].stop == height or box[1].stop == width

    inner = max((extent(box)[0] for box in boxes if not touches(box)), default=0)  # the tallest well inside

    def is_stray(number):
        tall, wide = extent(boxes[number])
        is_line = (wide > 5 * tall and wide > 0.3 * width) or (tall > 15 * wide and tall > 0.8 * height)
        spans = tall > 0.9 * height or wide > 0.9 * width
        is_edge = spans and (sizes[number] < 0.15 * tall * wide or max(tall, wide) > 8 * min(tall, wide))
        is_cut_off = inner > 0.5 * tall
        return is_line or (touches(boxes[number]) and (is_cut_off or (is_edge and inner > 0.05 * height)))

    # A stroke may be faint in places, but not everywhere.
    darkest = ndimage.maximum(ink, parts, range(1, count + 1))
    kept = [number for number in range(count) if darkest[number] > 0.5 and not is_stray(number)]
    if not kept:
        return []
    tallest = max(extent(boxes[number])[0] for number in kept)
    groups = [[number] for number in kept if sizes[number] > 4 and max(extent(boxes[number])) > 0.08 * tallest]
    joined = True
    while joined:
        joined = False
        for one in groups:
            for other in groups:
                if one is not other and _belong_together(_union(boxes, one), _union(boxes, other), tallest):
                    one.extend(other)
                    groups.remove(other)
                    joined = True
                    break
            if joined:
                break
    found = [(_union(boxes, group), group) for group in groups]
    return [
        (box, np.isin(parts[box], np.array(group) + 1))
        for box, group in found
        if extent(box)[0] > 0.3 * tallest  # lower ones are dirt
    ]


def _opened(mask, length, axis):
    """A mask without what is shorter than a length along an axis."""
    return ndimage.maximum_filter1d(
        ndimage.minimum_filter1d(mask, length, axis), length, axis, origin=-(1 - length % 2)
    )


def _union(boxes, group):
    """The box around the boxes of a group."""
    rows, columns = zip(*(boxes[number] for number in group), strict=True)
    return tuple(slice(min(s.start for s in side), max(s.stop for s in side)) for side in (rows, columns))


def _belong_together(one, other, tallest):
    """Whether two boxes are parts of one digit: one above the other and close, nested, or corner to corner."""
    shared = [min(a.stop, b.stop) - max(a.start, b.start) for a, b in zip(one, other, strict=True)]
    heights, widths = ([box[axis].stop - box[axis].start for box in (one, other)] for axis in (0, 1))
    together = sum(heights) - shared[0]
    is_above = shared[1] > 0.4 * min(widths) and shared[0] > -0.15 * tallest and together <= 1.7 * tallest
    is_at_corner = min(shared) > -0.06 * tallest and 1.3 * max(heights) < together <= 1.2 * tallest
    return is_above or is_at_corner


def _reading_order(boxes):
    """The numbers of boxes in lines from top to bottom, each from left to right."""
    lines = []
    for number in sorted(range(len(boxes)), key=lambda n: boxes[n][0].start + boxes[n][0].stop):
        rows = boxes[number][0]
        middle = (rows.start + rows.stop) / 2
        for line in lines:
            if any(boxes[n][0].start < middle < boxes[n][0].stop for n in line):
                line.append(number)
                break
        else:
            lines.append([number])
    return [sorted(line, key=lambda n: boxes[n][1].start) for line in lines]


def _mnist_form(ink, box, mask):
    """One digit as MNIST has it: uint8 [28, 28]."""
    margin = 2
    near = ndimage.binary_dilation(np.pad(mask, margin), iterations=margin)
    rows, columns = box
    around = np.pad(ink, margin)[rows.start : rows.stop + 2 * margin, columns.start : columns.stop + 2 * margin]
    digit = np.where(near, around, 0)[margin:-margin, margin:-margin]
    scale = 20 / max(digit.shape)
    # A pen's stroke, four times the mean distance to its edge, is thickened to MNIST's least where it is thinner.
    thickness = 4 * ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1][mask].mean() - 1
    missing = round((1.8 - thickness * scale) / scale)
    if missing > 0:
        digit = ndimage.grey_dilation(np.pad(digit, missing), (missing + 1, missing + 1))
        scale = 20 / max(digit.shape)
    height, width = (max(1, round(side * scale)) for side in digit.shape)
    small = _resized(digit, height, width)
    small = np.clip(small / max(np.percentile(small[small > 0.1], 90), 0.1), 0, 1)
    centre = ndimage.center_of_mass(small)
    form = np.zeros((28, 28), np.float32)
    top, left = (int(np.clip(round(14 - c), 0, 28 - side)) for c, side in zip(centre, small.shape, strict=True))
    form[top : top + height, left : left + width] = small
    return np.rint(form * 255).astype(np.uint8)
