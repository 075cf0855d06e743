"""The page to draw on: only this machine can open it, and it shows how a drawing or a picture is read."""

import base64
import hashlib
import io
import os
import queue
import re
import socket
import sys
import threading
import webbrowser
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from pathlib import Path

from flask import Flask, abort, request
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler, make_server

from handwriting.answers import PEN, answer_drawing, answer_picture
from handwriting.layers import computation, layers
from support.errors import UserError

HOST, PORTS = "127.0.0.1", range(8000, 8100)  # the first free one is taken
MAX_BYTES = 20_000_000  # of an uploaded file
TEXT = {"Content-Type": "text/plain; charset=utf-8"}


class Work:
    """Jobs that request threads give to the main thread, where PyTorch has its threads and Ctrl-C interrupts."""

    def __init__(self):
        self._jobs, self._newest, self._running = queue.SimpleQueue(), Future(), None

    def result(self, function, *arguments, replace=False):
        """What a function returns or raises in the main thread. replace: cancel the earlier such job if it waits."""
        job = Future()
        if replace:
            self._newest.cancel()  # no effect if it has already begun
            self._newest = job
        self._jobs.put((job, function, arguments))
        return job.result()

    def check(self):
        """Raise CancelledError, in the main thread, if nobody waits for the running job, which is to be replaced."""
        if self._running is not self._newest:
            raise CancelledError

    def go_on(self):
        """Do the next job, or return if none comes within a moment: on Windows, Ctrl-C cannot end a longer wait."""
        with suppress(queue.Empty):
            job, function, arguments = self._jobs.get(timeout=0.5)
            self._running = job
            if job.set_running_or_notify_cancel():
                try:
                    job.set_result(function(*arguments))
                except Exception as error:  # noqa: BLE001 (raised again where the result is waited for)
                    job.set_exception(error)


def make_app(model, work):
    """The page as a Flask application. model: a myCNN in eval mode, on the CPU.

    GET / is the page. It posts an image file's bytes to /read (?part=left,top,right,bottom, each from 0 to 1; ?turn=90,
    180 or 270, in degrees clockwise), a drawing's strokes to /draw (?pen=width) and a digit's image to /layers and /sum
    (?step=name&index=number), and gets what answers.py and layers.py return as JSON. If several pictures are waiting,
    only the newest is read: the others get status 409. Instead of an answer, one line of text comes with status 4xx.
    """
    app = Flask(__name__, static_folder=None)
    # Only these host names (no DNS rebinding): another site's name that points here must not let its scripts in.
    app.config.update(TRUSTED_HOSTS=[HOST, "localhost"], MAX_CONTENT_LENGTH=MAX_BYTES, PROVIDE_AUTOMATIC_OPTIONS=False)
    page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src {_hash_of('script', page)}; style-src {_hash_of('style', page)}; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}

    app.add_url_rule("/", "page", lambda: page)

    @app.before_request
    def refuse_strangers():
        if request.headers.get("Origin") not in (None, request.host_url.rstrip("/")):
            abort(403)

    @app.post("/read")
    def read():
        part, turn = request.args.get("part", "0,0,1,1"), request.args.get("turn", "0")
        file = io.BytesIO(request.get_data())
        return work.result(answer_picture, file, part, turn, model, work.check, replace=True)

    @app.post("/draw")
    def draw():
        try:
            strokes = request.get_json(force=True)
        except RecursionError:
            abort(400)
        return work.result(answer_drawing, strokes, request.args.get("pen", PEN), model, replace=True)

    @app.post("/layers")
    def explain():
        return work.result(layers, model, request.get_data(as_text=True))

    @app.post("/sum")
    def add_up():
        image, step, index = request.get_data(as_text=True), request.args.get("step"), request.args.get("index")
        return work.result(computation, model, image, step, index)

    app.register_error_handler(UserError, lambda error: (str(error), 400, TEXT))
    app.register_error_handler(CancelledError, lambda _: ("A newer request took its place", 409, TEXT))
    app.register_error_handler(413, lambda _: (f"This file is larger than {MAX_BYTES // 1_000_000} MB", 413, TEXT))
    app.register_error_handler(HTTPException, lambda error: (error.name, error.code, TEXT))

    @app.after_request
    def add_headers(response):
        response.headers.update(headers)
        return response

    return app


def _hash_of(tag, page):
    """The hash of the page's one script or style, by which its Content-Security-Policy allows this one and no other."""
    [text] = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class _Quiet(WSGIRequestHandler):
    timeout = 60  # seconds that a silent connection may hold a thread

    def log(self, *_):
        """Log nothing, neither requests nor broken connections."""


def serve(model):
    """Serve the page on http://127.0.0.1:8000, or the next free port, and open it in the browser if there is one.

    model: a myCNN in eval mode, on the CPU. Does not return: Ctrl-C ends it with a
    KeyboardInterrupt, and waiting requests are dropped. Raises UserError if none of a hundred ports is free.
    """
    work = Work()
    with _listen() as listener:
        app = make_app(model, work)
        server = make_server(HOST, 0, app, threaded=True, request_handler=_Quiet, fd=listener.fileno())
    address = f"http://{HOST}:{server.port}"
    print(f"draw on {address} (Ctrl-C to stop)", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=_open_browser, args=[address], daemon=True).start()
    answer_drawing([[[400, 150], [400, 450]]], PEN, model)  # the first reading is slow: here nobody waits for it
    while True:
        work.go_on()


def _listen():
    """A socket that listens on the first free port."""
    for port in PORTS:
        with suppress(OSError):
            return socket.create_server((HOST, port), backlog=128)
    raise UserError(f"ports {PORTS[0]} to {PORTS[-1]} are all in use: stop a program that uses one")


def _open_browser(address):
    """Open the address in a browser window, but not without a screen: a text browser would take over the terminal."""
    if sys.platform in ("win32", "darwin") or os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"}:
        with suppress(webbrowser.Error, OSError):
            webbrowser.open(address)
