"""Groups digits into lines."""

import numpy as np

LEVEL = 4  # weight of the prior that lines are level, in squared digit heights, against the evidence of pairs of digits


def in_lines(boxes):
    """Group boxes, [N, 4], into lines, top to bottom, each from left to right: a list of lists of indices."""
    if not len(boxes):
        return []
    left, top, right, bottom = np.array(boxes, float).T
    x, y, high = (left + right) / 2, (top + bottom) / 2, bottom - top
    height = np.median(high)
    down, across = y[:, None] - y, x[:, None] - x  # how far each digit is from each other one
    slope = 0
    for reach in (4, 8, 16):  # in heights: near digits are surely in one line, distant ones show its slope better
        beside = (across > 0) & (across < reach * height) & (np.abs(down - slope * across) < 0.6 * height)
        slope = (down * across)[beside].sum() / (LEVEL * height**2 + (across[beside] ** 2).sum())
    lines = []
    for digit in np.argsort(x):
        best = None
        for line in lines:
            last = line[-1]
            gap = x[digit] - x[last]
            climbed = abs(y[digit] - y[last] - slope * gap)
            far = climbed + 0.1 * gap
            shared = (high[digit] + high[last]) / 2 - climbed
            if shared > 0.2 * min(high[digit], high[last]) and (best is None or far < best[0]):
                best = far, line
        if best:
            best[1].append(digit)
        else:
            lines.append([digit])
    return sorted(lines, key=lambda line: np.mean(y[line] - slope * x[line]))
