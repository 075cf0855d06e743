"""Renders a page of a PDF in a process of its own: python render_pdf.py FILE SECONDS MEMORY [PAGE SIDE]

A small PDF can take minutes to render, and PDFium can't be interrupted meanwhile. This process ends after SECONDS, if
it needs more than MEMORY, in bytes (on Linux), and with the program that started it, because its standard input then
closes. It imports nothing of the project, so that it starts fast.

It writes the number of pages to standard output. With PAGE, counted from 0, it writes a line of numbers: the picture's
width, height and bytes a row, and the page's width and height in points; and then the pixels, BGR, at most SIDE wide
and high. Where PDFium refuses, it writes why, and the exit code is 1.
"""

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pypdfium2


def main(path, seconds, memory, page=None, side=None):
    """Write what the command line asks for."""
    threading.Thread(target=lambda: (os.read(0, 1), os._exit(2)), daemon=True).start()
    clock = threading.Timer(float(seconds), os._exit, [2])
    clock.daemon = True
    clock.start()
    with suppress(ImportError, ValueError):  # Windows has no such module, macOS no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    try:
        with Path(path).open("rb") as file:  # PDFium itself can't open every name
            document = pypdfium2.PdfDocument(file)
            if page is None:
                print(len(document))
                return
            sheet = document[int(page)]
            size = sheet.get_size()
            picture = sheet.render(int(side) / max(size))
    except pypdfium2.PdfiumError as error:
        print(error)
        sys.exit(1)
    print(picture.width, picture.height, picture.stride, *size, flush=True)
    sys.stdout.buffer.write(picture.buffer)


if __name__ == "__main__":
    main(*sys.argv[1:])
