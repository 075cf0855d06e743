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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import Project
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from strokes import strokes_of

import test
import train
from handwriting import page
from support.errors import UserError


@pytest.fixture(scope="session")
def drawing_project(tmp_path_factory):
    """A copy of the project whose newest run holds the small network that comes with the program."""
    project = Project(tmp_path_factory.mktemp("drawing"))
    project.environment = {"BROWSER": ""}
    folder = project.folder / "checkpoints" / "run-001"
    folder.mkdir(parents=True)
    shutil.copy(train.CHECKPOINTS_DIR / "small" / "epoch_19.npz", folder)
    return project


@contextmanager
def drawing(project, *arguments):
    """python test.py --draw, running: gives the process and the port it says it serves."""
    process = project.start("test.py", *(arguments or ["--draw"]))
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
    """The port of a server that all tests share, which must not say anything, whatever they do to it."""
    with drawing(drawing_project) as (process, port):
        yield port
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20) == ("", "stopped\n")


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


@pytest.fixture(scope="session")
def pictures(test_digits):
    """20 test digits, dark on light, as PNG files' bytes, and their labels."""
    images = [Image.fromarray(255 - digit).resize((140, 140)) for digit in test_digits[0][:20, 0].numpy()]
    return [as_png(np.asarray(image)) for image in images], test_digits[1][:20].tolist()


def answers_in(text):
    """The digits in an answer's JSON, line by line."""
    return [[int(np.argmax(digit["probabilities"])) for digit in line] for line in json.loads(text)["lines"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("arguments", [["--draw", "checkpoints/run-001"], ["checkpoints/run-001", "--draw"]])
def test_it_serves_a_named_run_on_the_next_free_port_until_a_signal_and_writes_no_file(
    drawing_project, server, pictures, number, arguments
):
    before = {path for path in drawing_project.folder.rglob("*") if "__pycache__" not in path.parts}
    with drawing(drawing_project, *arguments) as (process, port):
        assert port in page.PORTS
        assert port > server
        assert answers_in(ask(port, "POST", "/read", pictures[0][0])[2]) == [[7]]
        process.send_signal(number)
        assert process.communicate(timeout=20) == ("", "stopped\n")
        assert process.returncode == 128 + number
    assert {path for path in drawing_project.folder.rglob("*") if "__pycache__" not in path.parts} == before


@pytest.mark.parametrize("command", ["{python} {script} %s", "/nowhere/browser %s"])
def test_the_browser_is_opened_where_there_is_one_and_is_no_error_where_not(drawing_project, tmp_path, command):
    script, seen = tmp_path / "browser.py", tmp_path / "seen"
    script.write_text(
        f"import pathlib, sys, time\npathlib.Path({str(seen)!r}).write_text(sys.argv[1])\ntime.sleep(3)\n"
    )
    drawing_project.environment = {"BROWSER": command.format(python=sys.executable, script=script)}
    try:
        with drawing(drawing_project) as (process, port):
            assert ask(port)[0] == 200  # though the browser has not come back
            if "python" in command:
                WebDriverWait(None, 20).until(lambda _: seen.exists() and seen.read_text())
                assert seen.read_text() == f"http://127.0.0.1:{port}"
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 130
            assert process.stderr.read() == "stopped\n"
    finally:
        drawing_project.environment = {"BROWSER": ""}


def test_an_image_beside_draw_is_refused(tmp_path):
    (tmp_path / "7.png").touch()
    with pytest.raises(UserError, match="7.png is no run"):
        test.main(["--draw", str(tmp_path / "7.png")])


def test_no_free_port_is_told_in_one_line(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(page, "PORTS", [taken.getsockname()[1]])
        with pytest.raises(UserError, match="are all taken"):
            page.serve(None)


def test_only_this_machine_is_served(server):
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", server), timeout=2):
        pass


def test_the_page_may_load_nothing_from_elsewhere(server):
    status, headers, text = ask(server)
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http:" not in policy
    assert "src=" not in text
    assert "@import" not in text
    for host in (f"localhost:{server}", "localhost", "127.0.0.1:9000"):  # the last two as through an SSH tunnel
        assert ask(server, Host=host)[0] == 200


def test_an_answer_tells_box_form_and_probabilities(server, pictures):
    status, headers, text = ask(server, "POST", "/read", pictures[0][0], Origin=f"http://127.0.0.1:{server}")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    answer = json.loads(text)
    [[digit]] = answer["lines"]
    top, left, bottom, right = digit["box"]
    assert 0 <= top < bottom <= answer["height"] == 140
    assert 0 <= left < right <= answer["width"] == 140
    assert len(digit["form"]) == 784
    assert max(digit["form"]) > 200 > min(digit["form"]) == 0
    assert len(digit["probabilities"]) == 10
    assert sum(digit["probabilities"]) == pytest.approx(1, abs=1e-4)
    assert answer["turned"] == 0


REFUSED = {
    "another host": (400, {"Host": "example.com"}),
    "a host that begins alike": (400, {"Host": "127.0.0.1.example.com"}),
    "another host's POST": (400, {"method": "POST", "path": "/read", "body": b"7", "Host": "example.com"}),
    "another origin": (403, {"method": "POST", "path": "/read", "body": b"7", "Origin": "http://example.com"}),
    "another port's origin": (403, {"method": "POST", "path": "/read", "body": b"7", "Origin": "http://127.0.0.1:1"}),
    "no origin to tell": (403, {"method": "POST", "path": "/read", "body": b"7", "Origin": "null"}),
    "an unknown path": (404, {"path": "/etc/passwd"}),
    "a path upwards": (404, {"path": "/../page.py"}),
    "another method": (405, {"method": "PUT", "path": "/read", "body": b"7"}),
    "an unknown method": (405, {"method": "NONSENSE"}),
    "a GET of /read": (405, {"path": "/read"}),
    "a POST of the page": (405, {"method": "POST", "body": b"7"}),
    "no body": (400, {"method": "POST", "path": "/read", "body": b""}),
    "no picture": (400, {"method": "POST", "path": "/read", "body": b"<b>7</b>"}),
    "a body in chunks": (411, {"method": "POST", "path": "/read", "body": iter([b"7", b"8"])}),
    "too large a body": (413, {"method": "POST", "path": "/read", "body": bytes(20_000_001)}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_for_it_is_refused_in_one_line_and_the_server_goes_on(server, pictures, what):
    status, request = REFUSED[what]
    answer = ask(server, **request)
    assert answer[0] == status
    assert answer[1]["Content-Type"] == "text/plain; charset=utf-8"
    assert 0 < len(answer[2]) < 100
    assert "\n" not in answer[2]
    assert "<" not in answer[2]
    assert answers_in(ask(server, "POST", "/read", pictures[0][0])[2]) == [[7]]


def test_a_cut_or_tiny_or_huge_picture_is_refused_with_the_reason(server, pictures):
    for body, reason in (
        (pictures[0][0][:300], "can't be read"),
        (as_png(np.zeros((7, 7), np.uint8)), "7 × 7"),
        (as_png(np.zeros((8000, 8000), bool)), "50 megapixels"),
    ):
        status, _, text = ask(server, "POST", "/read", body)
        assert status == 400
        assert reason in text


def test_white_paper_has_no_lines(server):
    assert answers_in(ask(server, "POST", "/read", as_png(np.full((360, 480), 255, np.uint8)))[2]) == []


def test_ten_requests_at_once_are_all_answered(server, pictures):
    with ThreadPoolExecutor(10) as clients:
        answers = list(clients.map(lambda body: answers_in(ask(server, "POST", "/read", body)[2]), pictures[0][:10]))
    assert answers == [[[label]] for label in pictures[1][:10]]


def test_connections_that_break_leave_the_server_serving(server, pictures):
    head = f"POST /read HTTP/1.1\r\nHost: 127.0.0.1:{server}\r\nContent-Length: {len(pictures[0][0])}\r\n\r\n".encode()
    for sent in (
        b"",
        b"\x16\x03\x01nonsense\r\n\r\n",
        b"GET / HT",
        head,
        head + pictures[0][0][:99],
        head + pictures[0][0],
    ):
        for linger in (struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)):  # reset, and closed
            with socket.create_connection(("127.0.0.1", server)) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                client.sendall(sent)
    assert answers_in(ask(server, "POST", "/read", pictures[0][0])[2]) == [[7]]


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Headless Chromium."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        reason = "no browser: apt-get install chromium chromium-driver"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-dev-shm-usage"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


AT_ONCE = """
paper.setPointerCapture = () => {};  // there is no pointer to capture
for (const stroke of arguments[0]) {
  const events = stroke.map(([clientX, clientY]) => new PointerEvent("pointermove", {clientX, clientY, pointerId: 1}));
  paper.dispatchEvent(new PointerEvent("pointerdown", {clientX: stroke[0][0], clientY: stroke[0][1], pointerId: 1}));
  paper.dispatchEvent(new PointerEvent("pointermove", {coalescedEvents: events, pointerId: 1}));
  const [clientX, clientY] = stroke.at(-1);
  paper.dispatchEvent(new PointerEvent("pointerup", {clientX, clientY, pointerId: 1}));
}
"""


class Sheet:
    """The page in the browser, and somebody who uses it."""

    def __init__(self, browser):
        self.browser = browser

    def open(self, port, width=1280, height=800, ratio=1, dark=False):
        """Load the page anew, in a window of a size in CSS pixels."""
        screen = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.browser.get(f"http://127.0.0.1:{port}/")
        return self

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def js(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def rectangle(self, selector):
        """Of the first such element: left, top, right, bottom in the window."""
        script = "const {left, top, right, bottom} = document.querySelector(arguments[0]).getBoundingClientRect();"
        return self.js(script + "return [left, top, right, bottom]", selector)

    def draw(self, digit, x=0.5, y=0.5, side=0.6, kind="mouse"):
        """Draw a digit, uint8 [28, 28], its middle at (x, y) and its side so long, as shares of the sheet's size.

        Of a kind that is None the pointer events are made in the page, at once, not by the browser, one a frame.
        """
        left, top, right, bottom = self.rectangle("#paper")
        scale = side * (bottom - top) / 28
        left, top = left + x * (right - left) - 14 * scale, top + y * (bottom - top) - 14 * scale
        strokes = [
            [(round(left + column * scale), round(top + row * scale)) for column, row in stroke]
            for stroke in strokes_of(digit)
        ]
        if kind is None:
            self.js(AT_ONCE, strokes)
            return
        actions = ActionBuilder(self.browser, mouse=PointerInput(kind, kind), duration=0)
        hand = actions.pointer_action
        for stroke in strokes:
            for number, point in enumerate(stroke):
                hand.move_to_location(*point)
                if number == 0:
                    hand.pointer_down()
            hand.pointer_up()
        actions.perform()

    def press(self, *keys):
        actions = webdriver.ActionChains(self.browser, duration=0)
        for key in keys[:-1]:
            actions.key_down(key)
        actions.send_keys(keys[-1])
        for key in keys[:-1]:
            actions.key_up(key)
        actions.perform()

    def answer(self):
        """The answer's text, once the page has it."""
        WebDriverWait(self.browser, 30, 0.02).until(lambda _: self.js("return seen.ariaBusy") != "true")
        return self.js("return answer.textContent")

    def message(self):
        self.answer()
        return self.js("return message.textContent")

    def give(self, body, way, name="7.png"):
        """Drop or paste a file."""
        self.js(
            """
            const [body, way, name] = arguments, data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(body), c => c.charCodeAt(0))], name));
            const options = {clipboardData: data, dataTransfer: data, bubbles: true, cancelable: true};
            if (way === "paste") paper.dispatchEvent(new ClipboardEvent("paste", options));
            else for (const type of ["dragover", "drop"]) paper.dispatchEvent(new DragEvent(type, options));
            """,
            base64.b64encode(body).decode(),
            way,
            name,
        )


@pytest.fixture
def sheet(browser, server):
    """The page, empty; whatever happens to it, the browser must have no error to tell of."""
    sheet = Sheet(browser).open(server)
    browser.get_log("browser")
    yield sheet
    assert [entry for entry in browser.get_log("browser") if "/read - Failed to load" not in entry["message"]] == []


@pytest.fixture(scope="session")
def digits(test_digits):
    """The first 200 test digits as [200, 28, 28], NumPy array, and their labels, a list."""
    return test_digits[0][:200, 0].numpy(), test_digits[1][:200].tolist()


@pytest.mark.parametrize("kind", ["mouse", "touch", "pen"])
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
    [picture] = sheet.all("#digits canvas")
    pixels = sheet.js("return [...arguments[0].getContext('2d').getImageData(0, 0, 28, 28).data]", picture)
    assert len(pixels) == 28 * 28 * 4
    assert pixels[0] == 0
    assert max(pixels[::4]) > 200
    heights = [bar.size["height"] for bar in sheet.all("#digits ol i")]
    assert len(heights) == 10
    assert np.argmax(heights) == 2


def test_undo_takes_a_stroke_back_and_clear_all_of_them_by_button_and_key(sheet, digits):
    sheet.draw(digits[0][2], 0.3)
    sheet.draw(digits[0][0], 0.7)
    assert sheet.answer() == "17"
    sheet.press(Keys.CONTROL, "z")
    assert sheet.answer() == "1"
    sheet.press(Keys.ESCAPE)
    assert sheet.answer() == ""
    assert sheet.all("#hint")[0].is_displayed()
    assert not sheet.all("#frames i, #digits li")
    sheet.all("#undo")[0].click()
    assert sheet.answer() == "1"
    sheet.all("#clear")[0].click()
    assert sheet.answer() == ""
    for _ in range(5):
        sheet.all("#undo")[0].click()
    sheet.press(Keys.ESCAPE)
    assert sheet.answer() == sheet.message() == ""
    sheet.draw(digits[0][0])
    assert sheet.answer() == "7"


def test_digits_in_two_rows_are_answered_in_two_lines(sheet, digits):
    for number, x, y in ((0, 0.2, 0.25), (1, 0.5, 0.28), (2, 0.8, 0.25), (3, 0.3, 0.75), (7, 0.6, 0.75)):
        sheet.draw(digits[0][number], x, y, 0.4)
    assert sheet.answer() == "721\n09"
    assert [element.text for element in sheet.all("#frames i")] == list("72109")
    assert len(sheet.all("#digits > li")) == 5


def test_a_dot_is_no_digit_and_the_page_says_so(sheet):
    sheet.all("#paper")[0].click()
    assert sheet.answer() == "" or sheet.all("#frames i")
    sheet.press(Keys.ESCAPE)
    sheet.give(as_png(np.full((100, 100), 255, np.uint8)), "drop")
    assert sheet.message().startswith("No digit found")


@pytest.mark.parametrize("way", ["drop", "paste", "choose"])
def test_a_picture_is_read_like_a_drawing_its_frames_drawn_on_it(sheet, pictures, digits, tmp_path, way):
    sheet.draw(digits[0][2])
    assert sheet.answer() == "1"
    if way == "choose":
        (tmp_path / "7.png").write_bytes(pictures[0][0])
        sheet.all("#file")[0].send_keys(str(tmp_path / "7.png"))
    else:
        sheet.give(pictures[0][0], way)
    assert sheet.answer() == "7"
    left, top, right, bottom = sheet.rectangle("#paper")
    edges = sheet.rectangle("#frames i")
    middle = ((left + right) / 2, (top + bottom) / 2)
    assert edges[0] < middle[0] < edges[2]
    assert edges[1] < middle[1] < edges[3]
    assert edges[3] - edges[1] > 0.5 * (bottom - top)  # the picture fills the sheet's height
    WebDriverWait(sheet.browser, 10).until(
        lambda _: sheet.js("return view.getImageData(0, 0, paper.width, paper.height).data.some(value => value < 100)")
    )
    sheet.draw(digits[0][2])  # one stroke, on a sheet of its own
    assert sheet.answer() == "1"
    sheet.press(Keys.CONTROL, "z")
    sheet.press(Keys.CONTROL, "z")
    assert sheet.answer() == "7"
    sheet.press(Keys.CONTROL, "z")
    assert sheet.answer() == "1"


def test_a_file_that_is_refused_is_told_of_and_the_drawing_stays(sheet, digits):
    sheet.draw(digits[0][0])
    assert sheet.answer() == "7"
    sheet.give(b"no picture", "drop", "<img src=x onerror=alert(1)>.png")
    WebDriverWait(sheet.browser, 20).until(lambda _: "is not a picture" in sheet.message())
    assert sheet.answer() == "7"
    assert not sheet.all("img")
    sheet.give(bytes(20_000_001), "drop")
    WebDriverWait(sheet.browser, 20).until(lambda _: "over 20 MB" in sheet.message())


def test_an_old_answer_never_overwrites_a_newer_one(sheet, digits):
    sheet.js(
        """
        const real = fetch, late = [];
        window.fetch = async (path, {signal, ...options}) => {  // deaf to being given up, and the first one late
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
    WebDriverWait(sheet.browser, 10).until(lambda _: sheet.js("return window.arrived") >= 2)
    time.sleep(0.2)
    assert sheet.answer() == "7"


@pytest.mark.parametrize(("width", "ratio"), [(360, 3), (768, 2), (1280, 1), (2560, 1)])
def test_it_fits_every_window_and_screen_light_and_dark(sheet, server, digits, width, ratio):
    for dark in (False, True):
        sheet.open(server, width, 800, ratio, dark)
        sheet.draw(digits[0][0])
        assert sheet.answer() == "7"
        assert sheet.js("return document.documentElement.scrollWidth") <= width
        left, top, right, bottom = sheet.rectangle("#paper")
        assert right - left == width if width < 560 else right - left >= 560
        assert bottom < 800
        assert sheet.js("return paper.width") == round((right - left) * ratio)
        red, *_ = sheet.js("return [...view.getImageData(9, paper.height / 2, 1, 1).data]")
        assert (red < 60) == dark


def test_everything_has_a_label_and_the_keyboards_focus_is_seen(sheet, digits):
    sheet.draw(digits[0][0])
    sheet.answer()
    for element in sheet.all("button, canvas, section, output, ol, #digits ol li"):
        assert element.accessible_name, element.get_attribute("outerHTML")
    assert sheet.all("#answer")[0].get_attribute("aria-live") == "polite"
    focused = []
    for _ in range(3):
        sheet.press(Keys.TAB)
        focused.append(sheet.js("return document.activeElement.id"))
        assert sheet.js("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert focused == ["undo", "clear", "choose"]


def test_when_the_program_is_gone_the_page_says_so(browser, drawing_project, digits):
    sheet = Sheet(browser)
    with drawing(drawing_project) as (process, port):
        sheet.open(port)
        process.kill()
        process.wait()
        sheet.draw(digits[0][0])
        assert sheet.message().startswith("The program does not answer any more")
    browser.get_log("browser")


def test_98_percent_of_200_digits_drawn_as_strokes_are_read_right(sheet, digits):
    right = 0
    for digit, label in zip(*digits, strict=True):
        sheet.js("clear()")
        sheet.draw(digit, kind=None)
        right += sheet.answer() == str(label)
    assert right >= 196
