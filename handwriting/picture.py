"""own_digits.png: what was read on each picture, and what the network saw."""

from matplotlib.figure import Figure  # without pyplot: quicker to import, and it needs no screen

from support.files import atomic_write

PHOTOS, DIGITS = 20, 30  # shown at the most, and on each photo; digits in rows of 10


def draw_own_digits(path, read):
    """Draw what was read to the PNG file `path`: each photo, and beside it the digits as the network saw them.

    read: a list of (name, picture as photo.load_photo gives it, Reading). The first 20 photos are drawn. Raises
    UserError where the file can't be written.
    """
    shown = read[:PHOTOS]
    shown = [(name, picture, [digit for line in reading.lines for digit in line]) for name, picture, reading in shown]
    rows = [max(2, -(-min(len(digits), DIGITS) // 10)) for _, _, digits in shown]
    figure = Figure(figsize=(13, sum(rows) * 1.25 + 0.3), dpi=100)
    grid = figure.add_gridspec(
        sum(rows), 14, left=0.01, right=0.99, bottom=0.01, top=1 - 0.35 / (sum(rows) * 1.25), hspace=0.5
    )
    first = 0
    for (name, picture, digits), height in zip(shown, rows, strict=True):
        axes = figure.add_subplot(grid[first : first + height, :4])
        axes.imshow(picture)
        axes.set(xticks=[], yticks=[])
        left_out = f" (the first {DIGITS} of {len(digits)} digits)" if len(digits) > DIGITS else ""
        axes.set_title(name + left_out, fontsize=9, pad=3)
        for number in range(min(len(digits), DIGITS)):
            row, column = divmod(number, 10)
            axes = figure.add_subplot(grid[first + row, 4 + column])
            axes.imshow(digits[number].form, cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{digits[number].answer}   {digits[number].probabilities.max():.0%}", fontsize=10, pad=3)
        first += height
    with atomic_write(path) as file:
        figure.savefig(file)
