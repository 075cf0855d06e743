"""Make draw.png anew: a number is drawn on the page in headless Chromium, and the reading of one digit is opened.

python docs/draw.py    needs chromium and chromedriver
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

DOCS = Path(__file__).parent
WIDTH, HEIGHT = 1280, 800  # pixels
CHOSEN, MAP = 1, 3  # of the digits, the one that is opened; of conv2's maps, the one that is taken apart
LEFT, TOP = 0.08, 0.3  # of the first digit, as shares of the sheet's width
SIZE, STEP = 0.1, 0.185  # the same: a digit's width, and the way from one to the next
# The page rounds corners between points: a smooth stroke needs few. x and y as shares of a digit's width.
STROKES = [
    [(0, 0.05), (0.5, 0.04), (1, 0), (1, 0.03), (0.55, 0.75), (0.4, 1.4)],
    [(0.02, 0.35), (0.1, 0), (0.85, -0.1), (1, 0.45), (0.45, 1), (0, 1.36), (0.02, 1.39), (0.5, 1.36), (1.05, 1.4)],
    [(0.55, 0), (0.5, 0.7), (0.42, 1.4)],
    [(0.5, 0), (0.1, 0), (-0.1, 0.7), (0.1, 1.4), (0.75, 1.45), (1.05, 0.7), (0.85, 0.05), (0.45, -0.02), (0.4, 0.02)],
    [(0.95, 0.3), (0.8, -0.05), (0.1, -0.1), (0, 0.7), (0.75, 0.75), (0.95, 0.2), (0.98, 0.22), (0.8, 0.9), (0.7, 1.4)],
]


def draw(browser):
    """Draw the digits from left to right with the mouse."""
    sheet = browser.find_element(By.ID, "paper").rect
    for number, stroke in enumerate(STROKES):
        hand = webdriver.ActionChains(browser, duration=0).w3c_actions
        for i, (x, y) in enumerate(stroke):
            across, down = LEFT + STEP * number + SIZE * x, TOP + SIZE * y
            hand.pointer_action.move_to_location(
                round(sheet["x"] + across * sheet["width"]), round(sheet["y"] + down * sheet["width"])
            )
            if i == 0:
                hand.pointer_action.pointer_down()
        hand.pointer_action.pointer_up()
        hand.perform()


def main():
    """Draw, choose, and save what is seen."""
    command = [sys.executable, "test.py", "checkpoints/small", "--draw"]
    environment = os.environ | {"BROWSER": ""}  # none is opened for people
    page = subprocess.Popen(command, cwd=DOCS.parent, env=environment, text=True, stdout=subprocess.PIPE)
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("headless=new", "no-sandbox", "hide-scrollbars"):
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        screen = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        browser.get(page.stdout.readline().split()[2])
        draw(browser)
        wait = WebDriverWait(browser, 60)
        wait.until(lambda _: len(browser.find_elements(By.CSS_SELECTOR, "#digits button")) == len(STROKES))
        wait.until(lambda _: not browser.find_elements(By.CSS_SELECTOR, "main[aria-busy]"))
        browser.find_elements(By.CSS_SELECTOR, "#digits button")[CHOSEN].click()
        wait.until(lambda _: browser.find_element(By.ID, "layers").is_displayed())
        browser.execute_script("document.querySelectorAll('[name=conv2]')[arguments[0]].click()", MAP)
        wait.until(lambda _: browser.find_element(By.ID, "value").text.startswith("conv2"))
        browser.save_screenshot(DOCS / "draw.png")
    finally:
        browser.quit()
        page.terminate()


if __name__ == "__main__":
    main()
