"""The page to draw on: its server over real HTTP, and the page in a real browser, drawn on with real pointer events."""

import base64
import http.client
import io
import json
import os
import shutil
import signal
import socket
import struct
import sys
import time
from concurrent.futures import FIRST_COMPLETED, CancelledError, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import axe_core_python
import numpy as np
import pypdfium2
import pytest
from conftest import TRAINED, copy_project, has_pgrep, renderers, renderers_end, start
from PIL import Image, ImageOps
from selenium import webdriver
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from strokes import strokes_of

import train
from handwriting import page
from handwriting.answers import answer_picture
from handwriting.layers import address_of
from Model import load_parameters
from support.errors import UserError


@pytest.fixture(scope="session")
def drawing_project(tmp_path_factory):
    """The folder of a copy of the project whose newest run holds the small network that comes with the program."""
    project = tmp_path_factory.mktemp("drawing")
    copy_project(project)
    run = project / "checkpoints" / "run-001"
    run.mkdir(parents=True)
    shutil.copy(TRAINED, run)
    return project


@contextmanager
def drawing(project, *arguments, browser="/nowhere/browser %s"):
    """Run python test.py --draw: yields the process and the port that it prints."""
    process = start(project, "test.py", *(arguments or ["--draw"]), BROWSER=browser)
    try:
        assert process.stderr.readline() == "reading with epoch 19 of checkpoints/run-001\n"
        line = process.stdout.readline()
        assert line.startswith("draw on http://127.0.0.1:")
        yield process, int(line.split(":")[2].split()[0])
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def server(drawing_project):
    """The port of a server that all tests share; whatever they do to it, it must print nothing."""
    with drawing(drawing_project) as (process, port):
        yield port
        process.send_signal(signal.SIGTERM)  # on Windows it can't be caught
        assert process.communicate(timeout=20) == ("", "" if os.name == "nt" else "stopped\n")


def ask(port, method="GET", path="/", body=None, **headers):
    """A request's answer: (status, headers, text)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    answer = response.status, response.headers, response.read().decode()
    connection.close()
    return answer


def as_png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def rows_of(digits, columns=6):
    """Digits, uint8 [N, 28, 28], in lines, as a picture, uint8 [height, width], dark on light."""
    cells = 255 - np.pad(digits, ((0, -len(digits) % columns), (2, 2), (2, 2))).reshape(-1, columns, 32, 32)
    return np.asarray(ImageOps.scale(Image.fromarray(cells.swapaxes(1, 2).reshape(-1, 32 * columns)), 3))


@pytest.fixture(scope="session")
def seven(digits):
    """The first test digit, dark on light, 96×96, as a PNG file's bytes."""
    return as_png(rows_of(digits[0][:1], 1))


def answers_in(text):
    """The digits in an answer's JSON, line by line."""
    return [[digit["answer"] for number in line["numbers"] for digit in number] for line in json.loads(text)["lines"]]


def test_a_second_page_is_served_on_the_next_free_port_and_opened_in_the_browser(drawing_project, server, tmp_path):
    script, seen = tmp_path / "browser.py", tmp_path / "seen"
    script.write_text(f"import pathlib, sys, time\npathlib.Path({str(seen)!r}).write_text(sys.argv[1])\ntime.sleep(3)")
    browser = f"{Path(sys.executable).as_posix()} {script.as_posix()} %s"
    with drawing(drawing_project, "--draw", "checkpoints/run-001", browser=browser) as (_, port):
        assert port in page.PORTS
        assert port != server
        assert ask(port)[0] == 200  # though the browser has not come back
        WebDriverWait(None, 20).until(lambda _: seen.exists() and seen.read_text())
        assert seen.read_text() == f"http://127.0.0.1:{port}"


@has_pgrep
def test_ctrl_c_ends_the_page_at_once_while_a_pdf_is_rendered_and_leaves_nothing_behind(drawing_project):
    before = {path for path in drawing_project.rglob("*") if "__pycache__" not in path.parts}
    slow = (train.ROOT / "tests" / "inputs" / "tiny_tiles.pdf").read_bytes()  # which takes minutes to render
    with drawing(drawing_project) as (process, port), ThreadPoolExecutor(4) as clients:
        for _ in range(4):
            clients.submit(ask, port, "POST", "/read", slow)
        WebDriverWait(None, 60).until(lambda _: renderers(drawing_project))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.communicate() == ("", "stopped\n")
        assert renderers_end(drawing_project)
    assert {path for path in drawing_project.rglob("*") if "__pycache__" not in path.parts} == before


def test_if_no_port_is_free_one_line_says_so(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(page, "PORTS", [taken.getsockname()[1]])
        with pytest.raises(UserError, match="are all in use"):
            page.serve(None)


def test_only_this_machine_is_served(server):
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", server), timeout=2):
        pass


def test_the_page_may_load_nothing_from_elsewhere(server):
    status, headers, _ = ask(server)
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http:" not in policy
    for host in (f"localhost:{server}", "localhost", "127.0.0.1:9000"):  # the last two as through an SSH tunnel
        assert ask(server, Host=host)[0] == 200


def test_an_answer_has_a_box_an_image_and_probabilities(server, seven):
    status, headers, text = ask(server, "POST", "/read", seven, Origin=f"http://127.0.0.1:{server}")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    answer = json.loads(text)
    [line] = answer["lines"]
    [[digit]] = line["numbers"]
    left, top, right, bottom = digit["box"]
    assert 0 <= top < bottom <= answer["height"] == 96
    assert 0 <= left < right <= answer["width"] == 96
    image = np.asarray(Image.open(urlopen(digit["image"])))
    assert image.shape == (28, 28)
    assert image.max() > 200 > image.min() == 0
    assert len(digit["probabilities"]) == 10
    assert digit["confidence"] == digit["probabilities"][7] == max(digit["probabilities"])
    assert (line["text"], digit["answer"], digit["unsure"], answer["turned"]) == ("7", 7, False, 0)


def test_a_part_of_a_picture_is_read_alone_with_boxes_in_the_whole_picture(server, digits):
    two = as_png(rows_of(digits[0][:2], 2))
    assert sum(answers_in(ask(server, "POST", "/read", two)[2]), []) == [7, 2]
    answer = json.loads(ask(server, "POST", "/read?part=0.5,0,1,1", two)[2])
    [[[digit]]] = [line["numbers"] for line in answer["lines"]]
    assert digit["answer"] == 2
    assert answer["width"] / 2 < digit["box"][0] < digit["box"][2] < answer["width"]
    for part in ("0.5,0.5,0.501,0.501", "0,0,1", "nan,0,1,1", "1,1,0,0"):
        status, _, text = ask(server, "POST", f"/read?part={part}", two)
        assert status == 400
        assert "part" in text


READ = {"method": "POST", "path": "/read", "body": b"7"}
REFUSED = {
    "another host": (400, {"Host": "127.0.0.1.example.com"}),
    "another port's origin": (403, READ | {"Origin": "http://127.0.0.1:1"}),
    "no origin to tell": (403, READ | {"Origin": "null"}),
    "a path upwards": (404, {"path": "/../page.py"}),
    "an unknown method": (405, {"method": "NONSENSE"}),
    "a GET of /read": (405, {"path": "/read"}),
    "no picture": (400, READ | {"body": b"<b>7</b>"}),
    "too large a body": (413, READ | {"body": bytes(page.MAX_BYTES + 1)}),
    "a turn by 45 degrees": (400, READ | {"path": "/read?turn=45", "body": as_png(np.zeros((28, 28), np.uint8))}),
    "a drawing that is no JSON": (400, READ | {"path": "/draw", "body": b"7,"}),
    "a drawing of brackets": (400, READ | {"path": "/draw", "body": b"[" * 100_000}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bad_request_is_refused_in_one_line_and_the_server_keeps_running(server, seven, what):
    expected, request = REFUSED[what]
    status, headers, text = ask(server, **request)
    assert (status, headers["Content-Type"]) == (expected, "text/plain; charset=utf-8")
    assert 0 < len(text) < 100
    assert not set(text) & set("\n<")
    assert answers_in(ask(server, "POST", "/read", seven)[2]) == [[7]]


def test_only_the_newest_of_the_waiting_pictures_is_read(server, seven):
    work, done = page.Work(), []
    with ThreadPoolExecutor(4) as clients:
        layers = clients.submit(work.result, done.append, "layers")
        earlier = [clients.submit(work.result, done.append, number, replace=True) for number in (0, 1)]
        wait(earlier, return_when=FIRST_COMPLETED)  # one has taken the other's place
        newest = clients.submit(work.result, done.append, 2, replace=True)
        wait(earlier)
        while not (layers.done() and newest.done()):
            work.go_on()
    assert set(done) == {"layers", 2}
    assert all(isinstance(answer.exception(), CancelledError) for answer in earlier)
    with ThreadPoolExecutor(10) as clients:
        statuses = list(clients.map(lambda body: ask(server, "POST", "/read", body)[0], [seven] * 10))
    assert 200 in statuses
    assert set(statuses) <= {200, 409}


def test_the_reading_of_a_picture_ends_between_two_stages_once_a_newer_request_has_taken_its_place(digits):
    work, ends = page.Work(), []
    picture = io.BytesIO(as_png(rows_of(digits[0][:2], 2)))

    def between():
        work.check()
        ends.append("begun")
        newer.append(clients.submit(work.result, ends.append, "newer", replace=True))
        wait(newer, timeout=0.2)  # it waits for the main thread, where this is

    newer, model = [], load_parameters(TRAINED)
    with ThreadPoolExecutor(4) as clients:
        old = clients.submit(work.result, answer_picture, picture, "0,0,1,1", "0", model, between, replace=True)
        while not (old.done() and newer[0].done()):
            work.go_on()
    assert isinstance(old.exception(), CancelledError)
    assert ends == ["begun", "newer"]


def test_the_server_survives_broken_connections(server, seven):
    head = f"POST /read HTTP/1.1\r\nHost: 127.0.0.1:{server}\r\nContent-Length: {len(seven)}\r\n\r\n".encode()
    for sent in (b"", b"\x16\x03\x01nonsense\r\n\r\n", b"GET / HT", head, head + seven[:99], head + seven):
        for linger in (struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)):  # reset, and closed
            with socket.create_connection(("127.0.0.1", server)) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                client.sendall(sent)
    while (answer := ask(server, "POST", "/read", seven))[0] == 409:  # their last requests may come after it
        pass
    assert answers_in(answer[2]) == [[7]]


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        reason = "no browser: apt-get install chromium chromium-driver"
        is_required = os.environ.get("CI") == "true" and sys.platform == "linux"  # elsewhere Chromium has other names
        pytest.fail(reason) if is_required else pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = "headless=new no-sandbox disable-gpu disable-dev-shm-usage disable-quic disable-component-update"
    for flag in flags.split():
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


AT_ONCE = """
paper.setPointerCapture = () => {};  // there is no pointer to capture
const event = (type, [clientX, clientY], more) => new PointerEvent(type, {clientX, clientY, pointerId: 1, ...more});
for (const stroke of arguments[0]) {
  const coalescedEvents = stroke.map(point => event("pointermove", point));
  paper.dispatchEvent(event("pointerdown", stroke[0]));
  paper.dispatchEvent(event("pointermove", stroke[0], {coalescedEvents}));
  paper.dispatchEvent(event("pointerup", stroke.at(-1)));
}
"""


class Sheet:
    """The page in the browser, and what a user does there."""

    def __init__(self, browser):
        self.browser = browser

    def open(self, port, width=1280, height=800, ratio=1, dark=False):
        """Load the page as if for the first time, in a window of this size in CSS pixels."""
        self.size(width, height, ratio)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", features=[scheme])
        self.browser.get(f"http://127.0.0.1:{port}/nothing")
        self.js("sessionStorage.clear()")
        self.browser.get(f"http://127.0.0.1:{port}/")
        self.answer()
        return self

    def size(self, width, height, ratio=1):
        screen = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": False}
        self.cdp("Emulation.setDeviceMetricsOverride", **screen)

    def cdp(self, command, **arguments):
        self.browser.execute_cdp_cmd(command, arguments)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def js(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def rectangle(self, selector):
        """The first such element's left, top, right and bottom in the window."""
        script = "const {left, top, right, bottom} = document.querySelector(arguments[0]).getBoundingClientRect();"
        return self.js(script + "return [left, top, right, bottom]", selector)

    def pixels(self):
        """A screenshot of the sheet, uint8 [height, width]."""
        return np.asarray(Image.open(io.BytesIO(self.all("#sheet")[0].screenshot_as_png)).convert("L"))

    def draw(self, digit, x=0.5, y=0.5, side=0.6, kind=None):
        """Draw a digit, uint8 [28, 28], around (x, y), as for drag; its side is a share of the sheet's height."""
        scale = np.multiply(side / 28, (3 / 4, 1))  # the sheet is 4:3
        self.drag(*((np.array(stroke) - 14) * scale + (x, y) for stroke in strokes_of(digit)), kind=kind)

    def drag(self, *strokes, kind="mouse", is_up=True):
        """Move a pointer, pressed down, along strokes of points, in shares of the sheet's width and height.

        If kind is None, a script makes the pointer events, all at once; otherwise the browser does, one per frame.
        """
        low, high = np.reshape(self.rectangle("#paper"), (2, 2))
        strokes = [np.rint(low + (high - low) * stroke).tolist() for stroke in strokes]
        if kind is None:
            self.js(AT_ONCE, strokes)
            return
        actions = ActionBuilder(self.browser, mouse=PointerInput(kind, kind), duration=0)
        hand = actions.pointer_action
        for first, *others in strokes:
            hand.move_to_location(*first).pointer_down()
            for point in others:
                hand.move_to_location(*point)
            if is_up:
                hand.pointer_up()
        actions.perform()

    def press(self, key):
        webdriver.ActionChains(self.browser, duration=0).send_keys(key).perform()

    def show(self, confidences):
        """Let the page show 0, 1, ... in a line, with these confidences."""
        image = address_of(np.zeros((28, 28), np.uint8))
        digits = [
            {"box": [40 * i + 10, 100, 40 * i + 40, 150], "image": image, "answer": i, "confidence": confidence}
            | {"probabilities": [confidence * (j == i) for j in range(10)], "unsure": confidence < 0.5}
            for i, confidence in enumerate(confidences)
        ]
        text = "".join(str(digit["answer"]) for digit in digits)
        self.js("show(arguments[0])", {"width": 520, "height": 390, "lines": [{"text": text, "numbers": [digits]}]})

    def choose(self, number, answer):
        """Choose a digit, the first of which has the number 0, and wait until the network's reading of it is shown."""
        self.all("#digits button")[number].click()
        self.wait_for_network(answer)

    def wait_for_network(self, answer):
        self.wait(f"!layers.hidden && !isAdding && !wanted && title.textContent.endsWith('reads this {answer}')")

    def wait(self, condition):
        """Wait until a JavaScript expression is true."""
        WebDriverWait(self.browser, 20, 0.02).until(lambda _: self.js(f"return {condition}"))

    def texts(self, selector):
        return [element.text for element in self.all(selector)]

    def answer(self):
        """The answer's text, once the page has it."""
        self.wait("main.ariaBusy !== 'true'")
        return self.js("return answer.textContent")

    def message(self):
        self.answer()
        return self.js("return message.textContent")

    def give(self, body, way, name="7.png"):
        """Drop or paste a file."""
        script = """
        const [body, way, name, done] = arguments, data = new DataTransfer();
        data.items.add(new File([new Uint8Array(body)], name));
        const options = {clipboardData: data, dataTransfer: data, bubbles: true, cancelable: true};
        if (way === "paste") paper.dispatchEvent(new ClipboardEvent("paste", options));
        else for (const type of ["dragover", "drop"]) paper.dispatchEvent(new DragEvent(type, options));
        setTimeout(done, 50);  // the file has been read
        """
        self.browser.execute_async_script(script, list(body), way, name)


@pytest.fixture
def sheet(browser, server):
    """The empty page; whatever a test does to it, the browser must log no error."""
    sheet = Sheet(browser).open(server)
    browser.get_log("browser")
    yield sheet
    assert [entry for entry in browser.get_log("browser") if " - Failed to load" not in entry["message"]] == []


@pytest.mark.parametrize("kind", ["mouse", "touch"])
def test_a_digit_drawn_stroke_by_stroke_is_answered_with_its_frame_its_picture_and_ten_bars(sheet, digits, kind):
    assert sheet.answer() == ""
    assert sheet.all("#hint")[0].is_displayed()
    sheet.draw(digits[0][1], 0.3, 0.6, kind=kind)
    assert sheet.answer() == "2"
    assert not sheet.all("#hint")[0].is_displayed()
    left, top, right, bottom = sheet.rectangle("#frames i")
    assert [element.text for element in sheet.all("#frames i")] == ["2"]
    edges = sheet.rectangle("#paper")
    assert edges[0] < left < edges[0] + 0.3 * (edges[2] - edges[0]) < right < edges[2]
    assert edges[1] < top < edges[1] + 0.6 * (edges[3] - edges[1]) < bottom < edges[3]
    assert sheet.js("return document.querySelector('#digits img').naturalWidth") == 28
    heights = [bar.size["height"] for bar in sheet.all("#digits .bars i")]
    assert len(heights) == 10
    assert np.argmax(heights) == 2


def test_an_example_can_be_looked_at_until_the_first_stroke(sheet, digits):
    assert sheet.answer() == ""
    assert not sheet.all("#frames i")
    sheet.choose(0, 2)
    sheet.draw(digits[0][0])
    assert sheet.answer() == "7"
    sheet.wait_for_network(7)
    assert len(sheet.all("#digits button")) == 1


def test_the_drawing_and_its_pen_are_kept_when_the_page_is_loaded_again(sheet, digits):
    sheet.draw(digits[0][0], 0.3)
    sheet.draw(digits[0][1], 0.7)
    sheet.all("[value='14']")[0].click()
    assert sheet.answer() == "72"
    ink = (sheet.pixels() < 60).sum()
    sheet.browser.refresh()
    assert sheet.answer() == "72"
    assert abs((sheet.pixels() < 60).sum() - ink) < 0.05 * ink
    sheet.all("[value='42']")[0].click()
    assert sheet.answer() == "72"
    assert (sheet.pixels() < 60).sum() > 2 * ink


def test_a_chosen_digit_is_followed_by_its_place(sheet, digits):
    sheet.draw(digits[0][0], 0.7)
    assert sheet.answer() == "7"
    sheet.choose(0, 7)
    sheet.js("window.first = document.querySelector('[name=conv1]'); first.focus()")
    sheet.draw(digits[0][1], 0.25)
    sheet.js("document.querySelector('[value=\"14\"]').click()")  # another pen: the network is drawn anew
    assert sheet.answer() == "27"
    sheet.wait("!first.isConnected")
    sheet.wait_for_network(7)
    assert sheet.js("return digits.indexOf(chosen)") == 1
    assert sheet.js("return document.activeElement.name") == "conv1"
    sheet.js("clear()")
    assert sheet.answer() == ""
    assert not sheet.all("#layers")[0].is_displayed()
    assert sheet.js("return document.activeElement !== document.body")


def test_undo_redo_and_clear_go_stroke_by_stroke_by_button_and_key_on_any_keyboard(sheet, digits):
    assert not any(sheet.all(f"#{name}")[0].is_enabled() for name in ("undo", "redo", "clear"))
    sheet.draw(digits[0][2], 0.3)
    sheet.draw(digits[0][0], 0.7)
    assert sheet.answer() == "17"
    presses = [("z", "KeyZ", False, "1"), ("y", "KeyY", False, "17")]
    presses += [("я", "KeyZ", False, "1"), ("Я", "KeyZ", True, "17"), ("Z", "KeyZ", False, "1")]
    for key, code, shift, answer in presses:
        options = {"key": key, "code": code, "ctrlKey": True, "shiftKey": shift}
        sheet.js("document.dispatchEvent(new KeyboardEvent('keydown', arguments[0]))", options)
        assert sheet.answer() == answer
    sheet.press(Keys.ESCAPE)
    assert sheet.answer() == ""
    assert sheet.all("#hint")[0].is_displayed()
    assert not sheet.all("#frames i, #digits li")
    sheet.all("#undo")[0].click()
    assert sheet.answer() == "1"
    sheet.all("#clear")[0].click()
    assert sheet.answer() == ""
    while sheet.all("#undo")[0].is_enabled():
        sheet.all("#undo")[0].click()
    assert sheet.answer() == sheet.message() == ""
    sheet.all("#redo")[0].click()
    assert sheet.answer() == "1"


@pytest.mark.parametrize("way", ["drop", "paste", "choose"])
def test_a_picture_is_read_like_a_drawing_with_frames_on_it(sheet, seven, digits, way):
    sheet.draw(digits[0][2])
    assert sheet.answer() == "1"
    if way == "choose":  # a format that browsers do not show
        sheet.all("#file")[0].send_keys(str(Path(__file__).parent / "inputs" / "two.heic"))
    else:
        sheet.give(seven, way)
    WebDriverWait(sheet.browser, 20).until(lambda _: sheet.answer() == ("2" if way == "choose" else "7"))
    left, top, right, bottom = sheet.rectangle("#paper")
    edges = sheet.rectangle("#frames i")
    middle = ((left + right) / 2, (top + bottom) / 2)
    assert edges[0] < middle[0] < edges[2]
    assert edges[1] < middle[1] < edges[3]
    assert edges[3] - edges[1] > 0.5 * (bottom - top)  # the picture fills the sheet's height
    WebDriverWait(sheet.browser, 10).until(lambda _: sheet.pixels().min() < 100)
    sheet.all("#undo")[0].click()
    assert sheet.answer() == "1"


@pytest.mark.parametrize("kind", ["mouse", "touch"])
def test_only_the_part_inside_a_dragged_frame_is_read_until_escape(sheet, digits, kind):
    sheet.give(as_png(rows_of(digits[0][:6])), "drop")
    assert sheet.answer().replace(" ", "") == "721041"
    sheet.drag([(0.55, 0.05), (0.8, 0.5), (0.99, 0.95)], kind=kind)
    assert sheet.answer().replace(" ", "") == "041"
    assert sheet.message().startswith("Only the framed part")
    assert len(sheet.all("#paper .part")) == 1
    left, _, right, _ = sheet.rectangle("#paper")
    assert sheet.rectangle("#frames i")[0] > left + 0.5 * (right - left)
    sheet.press(Keys.ESCAPE)
    assert sheet.answer().replace(" ", "") == "721041"
    assert not sheet.all("#paper .part")


def test_a_picture_can_be_turned_and_a_frame_veils_what_is_not_read(sheet, digits):
    sheet.give(as_png(np.rot90(rows_of(digits[0][:2], 2))), "drop")
    sheet.answer()
    sheet.all("#turn")[0].click()
    assert sheet.answer() == "72"
    frames = [sheet.js("return arguments[0].getBoundingClientRect().left", frame) for frame in sheet.all("#frames i")]
    left, _, right, _ = sheet.rectangle("#paper")
    assert left < frames[0] < (left + right) / 2 < frames[1]
    left_half = slice(9, -9), slice(9, sheet.pixels().shape[1] // 2 - 9)
    assert sheet.pixels()[left_half].min() < 60
    sheet.drag([(0.5, 0.1), (0.9, 0.9)])
    assert sheet.answer() == "2"
    assert sheet.pixels()[left_half].min() > 150
    sheet.all("#undo")[0].click()
    assert sheet.answer() == "72"
    sheet.all("#undo")[0].click()
    assert sheet.answer() != "72"


def test_what_is_not_a_digit_gets_a_fitting_message(sheet):
    assert sheet.message() == ""
    sheet.drag([(0.5, 0.5)])
    assert sheet.pixels().min() < 60  # a dot
    assert sheet.answer() == ""
    assert sheet.message() == "This is too small to read: write it larger"
    sheet.press(Keys.ESCAPE)
    sheet.drag([(x, y) for x in (0.1, 0.9) for y in (0.1, 0.9, 0.1, 0.9)])
    if sheet.answer() == "":
        assert sheet.message() == "This is not a digit I know"
    sheet.give(as_png(np.full((100, 100), 255, np.uint8)), "drop")
    assert sheet.message().startswith("No digit found")


def test_an_answer_under_50_percent_is_called_unsure_in_words_in_cards_and_in_the_list(sheet):
    sheet.show([0.45, 0.95])
    assert sheet.texts("#digits button > span:first-child small") == ["45.0 % unsure", "95.0 %"]
    assert sheet.texts("#frames i") == ["0?", "1"]
    assert "1 unsure" in sheet.texts("#note")[0]
    sheet.show([0.45] + [0.95] * 8)
    first, second, *_ = sheet.all("#digits button")
    assert "unsure" in first.accessible_name
    assert "unsure" not in second.accessible_name
    assert [first.text, second.text] == ["0\n45.0 %", "1\n95.0 %"]
    marks = "return arguments[0].map(button => getComputedStyle(button.querySelector('b'), '::after').content)"
    assert sheet.js(marks, [first, second]) == ['"?"', "none"]


def test_a_refused_file_gets_a_message_and_the_drawing_stays(sheet, digits):
    sheet.draw(digits[0][0])
    assert sheet.answer() == "7"
    sheet.give(b"no picture", "drop", "<img src=x onerror=alert(1)>.png")
    WebDriverWait(sheet.browser, 20).until(lambda _: "is not a picture" in sheet.message())
    assert sheet.answer() == "7"
    assert not sheet.all("[src=x]")
    sheet.js("take([new File([new Uint8Array(arguments[0])], 'large.png')])", page.MAX_BYTES + 1)
    WebDriverWait(sheet.browser, 20).until(lambda _: "larger than 20 MB" in sheet.message())
    sheet.js("const file = new File([], 'folder'); file.arrayBuffer = () => Promise.reject(); take([file])")
    assert sheet.message().startswith("folder can't be read")
    assert sheet.answer() == "7"
    two = "take([1, 2].map(number => new File([new Uint8Array(arguments[0])], `${number}.png`)))"
    sheet.js(two, list(as_png(rows_of(digits[0][1:2], 1))))
    WebDriverWait(sheet.browser, 20).until(lambda _: sheet.answer() == "2")
    assert sheet.message().startswith("Of 2 files, only 1.png was read")


def test_an_old_answer_never_overwrites_a_newer_one(sheet, digits):
    sheet.js(
        """
        const real = fetch, late = [];
        window.fetch = async (path, {signal, ...options}) => {  // ignores that it is aborted, and the first one is late
          const response = await real(path, options);
          if (late.push(path) === 1) await new Promise(done => setTimeout(done, 1500));
          window.arrived = (window.arrived ?? 0) + 1;
          return response;
        };
        """
    )
    sheet.draw(digits[0][2])
    sheet.press(Keys.ESCAPE)
    sheet.draw(digits[0][0])
    assert sheet.answer() == "7"
    sheet.wait("window.arrived >= 2")
    time.sleep(0.2)
    assert sheet.answer() == "7"


def test_requests_are_sent_while_the_pen_is_down_and_never_two_at_once(sheet):
    sheet.js(
        """
        const real = fetch;
        let now = 0;
        window.most = 0;
        window.fetch = async (...request) => {
          window.most = Math.max(most, ++now);
          await new Promise(done => setTimeout(done, 400));  // longer than between two requests
          try { return await real(...request); } finally { now--; }
        };
        """
    )
    sheet.drag([*((0.35 + step / 200, 0.2) for step in range(50)), (0.5, 0.45), (0.4, 0.9)], is_up=False)
    sheet.wait("answer.textContent")
    assert sheet.answer() == "7"
    assert sheet.js("return Boolean(stroke)")
    sheet.cdp("Input.dispatchMouseEvent", type="mouseReleased", x=9, y=9, button="left")
    assert sheet.js("return window.most") == 1


def test_a_screen_reader_hears_each_answer_once(sheet, digits):
    note = "new MutationObserver(() => heard.push(spoken.textContent)).observe(spoken, {childList: true})"
    sheet.js(f"window.heard = []; {note}")
    sheet.draw(digits[0][0], 0.3)
    assert sheet.answer() == "7"
    sheet.draw(digits[0][2], 0.7)
    assert sheet.answer().replace(" ", "") == "71"
    heard = [text.strip().replace(" ", "") for text in sheet.js("return heard")]
    assert heard[-1] == "71"
    assert len(heard) <= 1 + len(strokes_of(digits[0][0])) + len(strokes_of(digits[0][2]))
    assert len(sheet.all("[role=status], output:not([aria-live=off])")) == 1


def test_during_a_slow_request_the_old_answer_is_greyed_and_a_message_says_reading(sheet, digits):
    sheet.draw(digits[0][0], 0.3)
    assert sheet.answer() == "7"
    hold = "const real = fetch; window.fetch = (...all) => new Promise(go => { window.go = () => go(real(...all)); })"
    sheet.js(hold)
    sheet.draw(digits[0][2], 0.7)
    sheet.wait("message.textContent === 'Reading…'")
    sheet.wait("[seen, $('frames')].every(part => getComputedStyle(part).opacity < 0.5)")
    assert sheet.js("return answer.textContent") == "7"
    sheet.js("go()")
    assert sheet.answer().replace(" ", "") == "71"
    sheet.wait("getComputedStyle(seen).opacity == 1")


def test_a_page_continues_by_itself_when_the_program_answers_again(sheet, digits):
    def network(offline):
        speed = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        sheet.cdp("Network.emulateNetworkConditions", offline=offline, **speed)

    sheet.cdp("Network.enable")
    for ask in (lambda: sheet.draw(digits[0][0]), lambda: sheet.all("#digits button")[0].click()):
        network(offline=True)
        ask()
        sheet.wait("message.textContent.startsWith('The program does not answer')")
        network(offline=False)
        assert sheet.answer() == "7"
        assert sheet.message() == ""
    sheet.cdp("Network.disable")


def test_a_digit_chosen_in_the_answer_or_on_the_sheet_shows_the_whole_network(sheet, digits):
    asked = "return performance.getEntriesByType('resource').filter(entry => entry.name.endsWith('/layers')).length"
    sheet.draw(digits[0][0], 0.3)
    sheet.draw(digits[0][1], 0.7)
    assert sheet.answer() == "72"
    assert "Choose one" in sheet.texts("#note")[0]
    assert sheet.js(asked) == 0
    sheet.choose(1, 2)
    assert sheet.js(asked) == 1
    assert "Choose one" not in sheet.texts("#note")[0]
    assert sheet.texts("#network h3") == "image conv1 pool1 conv2 pool2 conv3 fc1 fc2 fc3".split()
    counts = sheet.js("return [...document.querySelectorAll('.step')].map(step => step.querySelectorAll('img').length)")
    assert counts == [1, 16, 16, 16, 16, 16, 1, 1, 0]
    assert sheet.js("return [...document.querySelectorAll('#network img')].every(image => image.naturalWidth)")
    assert "96 maps, 7×7" in " ".join(sheet.texts(".step")[5].split())
    shares = [float(text.split()[-2]) for text in sheet.texts("#logits label")]
    assert np.argmax(shares) == 2
    assert abs(sum(shares) - 100) < 1
    for width, height in ((1280, 800), (1920, 1080)):
        sheet.size(width, height)
        assert sheet.js("return document.documentElement.scrollWidth <= innerWidth")
        assert sheet.js("return $('network').scrollWidth <= $('network').clientWidth")
        assert sheet.rectangle("#network")[3] < 0.6 * height
        assert sheet.rectangle("#unit")[3] <= height
    sheet.drag([(0.3, 0.5)])  # a tap on the 7, which draws no dot
    sheet.wait_for_network(7)
    assert sheet.js("return marks.length") == len(strokes_of(digits[0][0])) + len(strokes_of(digits[0][1]))
    sheet.press(Keys.ESCAPE)
    assert not sheet.all("#layers")[0].is_displayed()
    assert sheet.answer() == "72"
    assert sheet.js("return document.activeElement === digits[0].button")


def test_the_sum_behind_any_value_is_shown_by_pointer_and_keyboard(sheet, digits):
    sheet.draw(digits[0][0])
    assert sheet.answer() == "7"
    sheet.choose(0, 7)

    def number(text):
        return round(1000 * float(text.split()[-1].replace("−", "-")))

    for step, inputs in (("conv1", 1), ("conv2", 8), ("conv3", 8), ("fc1", 8), ("fc2", 8), ("fc3", 8)):
        sheet.js("document.querySelectorAll(`[name=${arguments[0]}]`)[0].click()", step)
        sheet.wait_for_network(7)
        lines = sheet.texts("#sum > *")
        total = next(i for i, line in enumerate(lines) if line.startswith("sum"))
        assert total == inputs + 1 + (step != "conv1")
        assert sum(map(number, lines[:total])) == number(lines[total])
        sheet.js("document.querySelectorAll('[name=term]')[arguments[0]].click()", inputs - 1)
        products = [number(text) for text in sheet.texts("#factors table:last-child td")]
        assert len(products) == (9 if step.startswith("conv") else 1)
        assert sum(products) == number(lines[inputs - 1])
        assert number(sheet.texts("#value")[0]) == number(lines[total if step == "fc3" else -1])
    sheet.js("document.querySelectorAll('[name=pool1]')[0].click()")
    sheet.wait_for_network(7)
    window = [number(text) for text in sheet.texts("#factors td")]
    assert max(window) == number(sheet.texts("#value")[0])
    near_middle = sheet.all("#map")[0], 5, 5
    webdriver.ActionChains(sheet.browser, duration=0).move_to_element_with_offset(*near_middle).click().perform()
    sheet.wait_for_network(7)
    assert "row 7, column 7" in sheet.texts("#value")[0]
    sheet.js("map.focus()")
    sheet.press(Keys.ARROW_LEFT)
    sheet.press(Keys.ARROW_UP)
    sheet.wait_for_network(7)
    assert "row 6, column 6" in sheet.texts("#value")[0]


def test_the_chance_that_it_is_no_digit_is_shown_beside_the_confidence(sheet):
    sheet.show([0.6])
    sheet.choose(0, 0)
    assert "40.0 % is the chance that this is no digit" in sheet.texts("#note")[0]


def test_two_hundred_digits_are_a_list_in_its_own_panel_linked_with_their_frames(sheet, server, digits):
    sheet.give(as_png(rows_of(digits[0][:200], 14)), "drop")
    assert len(sheet.answer().split("\n")) == 15
    cells, frames = sheet.all("#digits button"), sheet.all("#frames i")
    assert 195 <= len(cells) == len(frames) <= 205
    assert len(sheet.all("#digits > li")) == 15
    assert min(cell.size["height"] for cell in cells) >= 32
    hidden = """
    const rectangles = name => [...document.querySelectorAll(name)].map(element => element.getBoundingClientRect());
    const frames = rectangles("#frames i"), isOn = (tag, {left, right, top, bottom}) =>
      tag.left < right - 3 && tag.right > left + 3 && tag.top < bottom - 3 && tag.bottom > top + 3;
    const hides = (tag, i) => tag.width && frames.some((frame, j) => i !== j && isOn(tag, frame));
    return rectangles("#frames b").filter(hides).length;
    """
    for width, height in ((390, 844), (1280, 800)):
        sheet.size(width, height)
        assert sheet.js("return document.documentElement.scrollHeight") < 1.3 * height
        assert sheet.js(hidden) == 0
    webdriver.ActionChains(sheet.browser, duration=0).move_to_element(cells[3]).perform()
    assert frames[3].get_attribute("class").split()[-1] == "lit"
    webdriver.ActionChains(sheet.browser, duration=0).move_to_element(frames[5]).perform()
    assert [i for i, cell in enumerate(cells[:20]) if "lit" in cell.get_attribute("class")] == [5]
    sheet.choose(3, digits[1][3])
    assert sheet.js("return $('digits').scrollHeight > $('digits').clientHeight")
    sheet.cdp("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    sheet.all("#copy")[0].click()
    sheet.wait("message.textContent === 'Copied'")
    copied = sheet.browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied == sheet.js("return answer.textContent")


@pytest.mark.parametrize(
    ("width", "height", "dark"),
    [(844, 390, False), (640, 400, True), (390, 844, False), (1280, 800, True), (1920, 1080, False)],
)
def test_sheet_and_answer_fit_every_window_light_and_dark(sheet, server, digits, width, height, dark):
    sheet.open(server, width, height, 2, dark)
    for i in range(8):
        sheet.draw(digits[0][i], 0.15 + 0.23 * (i % 4), 0.3 + 0.4 * (i // 4), 0.33)
    assert len(sheet.answer()) == 9
    assert sheet.js("return document.documentElement.scrollWidth") <= width
    left, _, right, bottom = sheet.rectangle("#paper")
    assert right - left >= 320
    assert bottom < height
    assert sheet.rectangle("#answer")[3] < height
    assert (np.median(sheet.pixels()) < 60) == dark
    if (width, height) == (1280, 800):
        assert sheet.js("return document.documentElement.scrollHeight") <= 820
    label, edges = sheet.rectangle("#frames b"), sheet.rectangle("#sheet")
    assert label[0] >= edges[0] and label[1] >= edges[1]
    if width == 1920:
        assert sheet.js("return parseFloat(getComputedStyle(answer).fontSize)") > 130


@pytest.mark.parametrize(("width", "height"), [(320, 256), (320, 568), (844, 390)])
def test_in_a_small_window_a_chosen_digits_network_is_scrolled_to_and_uncovered(sheet, server, digits, width, height):
    sheet.open(server, width, height)
    sheet.draw(digits[0][0])
    assert sheet.answer() == "7"
    sheet.js("digits[0].button.click()")
    sheet.wait_for_network(7)
    left, top, right, bottom = sheet.rectangle("#layers")
    assert abs(top) < height / 4
    assert right - left <= width
    covered = "return layers.contains(document.elementFromPoint(...arguments[0]))"
    assert all(sheet.js(covered, [width / 2, y]) for y in range(int(max(top, 0)) + 2, height, 20))
    assert sheet.js("return document.documentElement.scrollWidth") <= width
    sheet.js("document.querySelectorAll('[name=fc3]')[3].scrollIntoView()")
    assert sheet.rectangle("#logits")[2] <= width
    sheet.js("document.getElementById('close').click()")
    assert sheet.js("return document.activeElement === digits[0].button")


def test_bars_show_in_forced_colours_and_a_printout_has_light_paper_the_layers_and_no_buttons(sheet, server, digits):
    sheet.open(server, dark=True)
    sheet.draw(digits[0][0])
    assert sheet.answer() == "7"
    sheet.choose(0, 7)
    printed = pypdfium2.PdfDocument(base64.b64decode(sheet.browser.execute_cdp_cmd("Page.printToPDF", {})["data"]))
    text = "".join(page.get_textpage().get_text_range() for page in printed)
    assert "How the network reads this 7" in text
    assert "conv1" in printed[0].get_textpage().get_text_range()
    assert "Undo" not in text
    picture = np.asarray(printed[0].render(grayscale=True).to_numpy())
    assert np.median(picture) == 255
    printed.close()
    sheet.cdp("Emulation.setEmulatedMedia", features=[{"name": "forced-colors", "value": "active"}])
    colours = "return [...document.querySelectorAll('.bars i')].map(bar => getComputedStyle(bar).backgroundColor)"
    assert sheet.js("return getComputedStyle(document.body).backgroundColor") not in sheet.js(colours)


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_no_violation_of_wcag_aa_and_edges_can_be_seen_on_a_projector(sheet, server, digits, dark):
    axe = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    sheet.open(server, dark=dark)
    sheet.js(axe)

    def violations():
        sheet.js("document.getAnimations().forEach(animation => animation.finish())")
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
        run = "axe.run({runOnly: arguments[0]}).then(result => arguments[1](result.violations))"
        return [(v["id"], v["nodes"][0]["html"]) for v in sheet.browser.execute_async_script(run, tags)]

    assert violations() == []
    contrast = """
    const {Color, getContrast} = axe.commons.color, colour = new Color(), edge = new Color();
    edge.parseString(getComputedStyle(document.documentElement).getPropertyValue("--edge"));
    colour.parseString(getComputedStyle(document.documentElement).getPropertyValue(arguments[0]));
    return getContrast(colour, edge);
    """
    assert min(sheet.js(contrast, name) for name in ("--paper", "--ground")) >= 3
    sheet.draw(digits[0][0])
    assert sheet.answer() == "7"
    assert violations() == []
    sheet.choose(0, 7)
    assert violations() == []
    sheet.press(Keys.ESCAPE)
    sheet.show([0.45] + [0.95] * 9)
    assert violations() == []


def test_everything_has_a_unique_name_and_the_keyboard_focus_is_visible(sheet, digits):
    sheet.draw(digits[0][0], 0.3)
    sheet.draw(digits[0][0], 0.7)
    assert sheet.answer() == "77"
    parts = sheet.all("button:not([hidden], #close), input:not([hidden]), #paper, section:not([hidden]), output, ol")
    names = [part.accessible_name for part in parts if part.is_displayed() or part.tag_name == "input"]
    assert all(names)
    assert len(set(names)) == len(names)
    focused = []
    for _ in range(5):
        sheet.press(Keys.TAB)
        focused.append(sheet.js("return document.activeElement.id || document.activeElement.name"))
        ring = "return getComputedStyle(document.activeElement.closest('label') ?? document.activeElement).outlineStyle"
        assert sheet.js(ring) != "none"
    assert focused == ["undo", "clear", "pen", "choose", "copy"]
