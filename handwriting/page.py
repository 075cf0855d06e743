"""The page to draw on: served to this machine alone, and what is drawn there is read as photos are."""

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

from handwriting.answers import layers, read_file, read_strokes
from support.errors import UserError

HOST, PORTS = "127.0.0.1", range(8000, 8100)  # the first free one is taken
MAX_BYTES = 20_000_000  # of a picture
TEXT = {"Content-Type": "text/plain; charset=utf-8"}


class Work:
    """What the threads of requests leave to the main thread, where PyTorch has its threads and Ctrl-C interrupts."""

    def __init__(self):
        self._jobs, self._newest = queue.SimpleQueue(), Future()

    def result(self, function, *arguments, replace=False):
        """What the function returns or raises in the main thread. replace: the one such job that waits is cancelled."""
        job = Future()
        if replace:
            self._newest.cancel()  # has no effect on one that has begun
            self._newest = job
        self._jobs.put((job, function, arguments))
        return job.result()

    def go_on(self):
        """Do the next job, or return after a moment without any: on Windows, Ctrl-C does not end a longer wait."""
        with suppress(queue.Empty):
            job, function, arguments = self._jobs.get(timeout=0.5)
            if job.set_running_or_notify_cancel():
                try:
                    job.set_result(function(*arguments))
                except Exception as error:  # noqa: BLE001 (raised again where the result is waited for)
                    job.set_exception(error)


def make_app(model, logits_of, work):
    """The page as a Flask application. model: a myCNN in eval mode, on the CPU. logits_of: as reader.read takes it.

    GET / is the page. It posts an image file's bytes to /read (?part=left,top,right,bottom), a drawing's strokes to
    /draw, a digit's form to /layers, and gets in JSON what answers.py returns. Of the pictures that wait to be read
    only the newest is: the others get status 409. What can't be answered gets from 400 to 499 and one line of text.
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

    app.add_url_rule("/", "page", lambda: page)

    @app.before_request
    def refuse_strangers():
        if request.headers.get("Origin") not in (None, request.host_url.rstrip("/")):
            abort(403)

    @app.post("/read")
    def read():
        part = request.args.get("part", "0,0,1,1")
        return work.result(read_file, io.BytesIO(request.get_data()), part, logits_of, replace=True)

    @app.post("/draw")
    def draw():
        return work.result(read_strokes, request.get_json(force=True), logits_of, replace=True)

    @app.post("/layers")
    def explain():
        return work.result(layers, model, request.get_data(as_text=True))

    app.register_error_handler(UserError, lambda error: (str(error), 400, TEXT))
    app.register_error_handler(CancelledError, lambda _: ("A newer question took its place", 409, TEXT))
    app.register_error_handler(413, lambda _: (f"This file is over {MAX_BYTES // 1_000_000} MB", 413, TEXT))
    app.register_error_handler(HTTPException, lambda error: (error.name, error.code, TEXT))

    @app.after_request
    def shut_in(response):
        response.headers.update(headers)
        return response

    return app


def _hash_of(tag, page):
    """A Content-Security-Policy's name for the one script or style in the page, which lets no other in."""
    [text] = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class _Quiet(WSGIRequestHandler):
    timeout = 60  # seconds that a silent connection may hold a thread

    def log(self, *_):
        """Say nothing of requests, nor of connections that break."""


def serve(model, logits_of):
    """Serve the page on http://127.0.0.1:8000, or the next free port, and open it in the browser where there is one.

    model: a myCNN in eval mode, on the CPU. logits_of: as reader.read takes it. Does not return: Ctrl-C ends it, as
    KeyboardInterrupt, and drops what waits. Raises UserError where none of a hundred ports is free.
    """
    work = Work()
    with _listen() as listener:
        app = make_app(model, logits_of, work)
        server = make_server(HOST, 0, app, threaded=True, request_handler=_Quiet, fd=listener.fileno())
    address = f"http://{HOST}:{server.port}"
    print(f"draw on {address} (Ctrl-C ends)", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=_open_browser, args=[address], daemon=True).start()
    read_strokes([[[400, 150], [400, 450]]], logits_of)  # the first reading is slow: here nobody waits for it
    while True:
        work.go_on()


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
