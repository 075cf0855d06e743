"""Digits are grouped into the lines in which they were written."""

import numpy as np

from handwriting.lines import Found, among_text, in_lines


def row_of(rng, gaps, size, top=0.0):
    """Boxes of a row of digits of uneven heights with these gaps, in pixels, after each."""
    boxes, left = [], 20.0
    for gap in gaps:
        height = size * np.exp(rng.normal(0, 0.1))
        middle = top + 70 + rng.normal(0, 0.1) * size
        boxes.append((left, middle - height / 2, left + 0.6 * height, middle + height / 2))
        left += 0.6 * height + gap
    return boxes


def lines_of(boxes):
    return in_lines(Found.at(boxes, np.full(len(boxes), 0.9)))


def test_a_row_of_uneven_digits_with_a_wide_gap_is_one_line():
    rows = (row_of(np.random.default_rng(seed), [8, 12, 300, 10, 15, 9], 50) for seed in range(80))
    assert sum(len(lines_of(row)) == 1 for row in rows) >= 77


def test_lines_go_from_top_to_bottom_and_digits_from_left_to_right():
    rng = np.random.default_rng(0)
    rows = [row_of(rng, [10] * 6, 40, top=70 * number) for number in range(4)]
    boxes = [box for row in rows for box in row]
    order = rng.permutation(len(boxes))
    lines = lines_of([boxes[number] for number in order])
    assert [[int(order[number]) for number in line] for line in lines] == np.arange(24).reshape(4, 6).tolist()


def test_where_much_is_rejected_the_rest_is_less_sure():
    boxes = row_of(np.random.default_rng(0), [10] * 8, 40)
    alone, among = (among_text(Found.at(boxes, sure)) for sure in ([0.9] * 8, [0.2, 0.9] * 4))
    assert (alone == 0.9).all()
    assert 0.8 < among[1::2].min() == among[1::2].max() < 0.9
