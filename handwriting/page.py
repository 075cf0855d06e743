"""The page to draw on: served to this machine alone, and what is drawn there is read as photos are."""

import base64
import hashlib
import io
import os
import re
import socket
import sys
import threading
import webbrowser
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import HTTPServer
from pathlib import Path

import numpy as np
from flask import Flask, abort, request
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler, make_server

from handwriting.photo import load_photo
from handwriting.reader import read, read_drawing
from support.errors import UserError

HOST, PORTS = "127.0.0.1", range(8000, 8100)  # the first free one is taken
MAX_BYTES = 20_000_000  # of a picture


def make_app(logits_of):
    """The page as a Flask application. logits_of: as reader.read takes it.

    GET / is the page. POST /read takes the bytes of an image file, as photo.load_photo does, and answers in JSON: the
    picture's "width" and "height", by how many degrees it was "turned", and "lines", from top to bottom, of digits:
    their "box" in the picture [top, left, bottom, right], the "form" that the network saw (784 values, 0 to 255) and
    ten "probabilities". What can't be answered gets a status from 400 to 499 and one line of plain text.
    """
    app = Flask(__name__, static_folder=None)
    # Only these names: a stranger's name that is made to point here must not open the page to the stranger's scripts.
    app.config.update(TRUSTED_HOSTS=[HOST, "localhost"], MAX_CONTENT_LENGTH=MAX_BYTES, PROVIDE_AUTOMATIC_OPTIONS=False)
    page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src {_hash_of('script', page)}; style-src {_hash_of('style', page)}; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    # One thread reads, whoever asks: PyTorch sets up its own threads once, and uploads don't add up in memory.
    worker = ThreadPoolExecutor(1)
    stroke = np.full((360, 480, 3), 255, np.uint8)
    stroke[100:260, 230:250] = 0
    worker.submit(read_drawing, stroke, logits_of)  # the first reading is slow: here nobody waits for it

    app.add_url_rule("/", "page", lambda: page)

    @app.before_request
    def refuse_other_origins():
        own = request.host_url.rstrip("/")
        if request.headers.get("Origin", own) != own:
            abort(403)

    @app.post("/read")
    def answer():
        if request.content_length is None:
            abort(411)  # of a body in chunks Werkzeug would give the first 20 MB
        return worker.submit(_answer, io.BytesIO(request.get_data()), logits_of, "drawn" in request.args).result()

    @app.errorhandler(HTTPException)
    def in_one_line(error):
        response = error.get_response()
        response.data = f"This file is over {MAX_BYTES // 1_000_000} MB" if error.code == 413 else error.name
        response.content_type = "text/plain; charset=utf-8"
        return response

    @app.errorhandler(UserError)
    def no_picture(error):
        return str(error), 400, {"Content-Type": "text/plain; charset=utf-8"}

    @app.after_request
    def shut_in(response):
        response.headers.update(headers)
        return response

    return app


def _hash_of(tag, page):
    """A Content-Security-Policy's name for the one script or style in the page, which lets no other in."""
    [text] = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _answer(file, logits_of, is_drawn):
    """What POST /read answers, as a dict, to a picture in a binary file."""
    picture = load_photo(file, "This file")
    reading = (read_drawing if is_drawn else read)(picture, logits_of)
    keys = ("box", "form", "probabilities")
    lines = [
        [{key: np.ravel(vars(digit)[key]).tolist() for key in keys} for digit in line.digits] for line in reading.lines
    ]
    return {"width": picture.shape[1], "height": picture.shape[0], "turned": reading.turned, "lines": lines}


class _Quiet(WSGIRequestHandler):
    timeout = 60  # seconds that a silent connection may hold a thread

    def log(self, *_):
        """Say nothing of requests, nor of connections that break."""


def serve(logits_of):
    """Serve the page on http://127.0.0.1:8000, or the next free port, and open it in the browser where there is one.

    logits_of: as reader.read takes it. Does not return: Ctrl-C ends it, as KeyboardInterrupt. Raises UserError where
    none of a hundred ports is free.
    """
    with _listen() as listener:
        server = make_server(HOST, 0, make_app(logits_of), threaded=True, request_handler=_Quiet, fd=listener.fileno())
    address = f"http://{HOST}:{server.port}"
    print(f"draw on {address} (Ctrl-C ends)", flush=True)
    threading.Thread(target=_open_browser, args=[address], daemon=True).start()
    with server:
        HTTPServer.serve_forever(server)  # Werkzeug's own would keep the KeyboardInterrupt to itself


def _listen():
    """A socket that listens on the first free port."""
    for port in PORTS:
        with suppress(OSError):
            return socket.create_server((HOST, port), backlog=128)
    raise UserError(f"the ports {PORTS[0]} to {PORTS[-1]} are all taken: end a program that uses one")


def _open_browser(address):
    """Open the address in a browser's window. Without a screen there are only browsers that take the terminal: none."""
    if sys.platform in ("win32", "darwin") or os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"}:
        with suppress(webbrowser.Error, OSError):
            webbrowser.open(address)
