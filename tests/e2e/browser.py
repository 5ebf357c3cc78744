"""Chromium as a person uses it: visit, fill in, press, read."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--force-color-profile=srgb", "--hide-scrollbars",
)  # fmt: skip
LOUD = ("SEVERE", "WARNING")


class Browser:
    """One Chromium with a profile of its own; use it as a context manager."""

    def __init__(
        self, base: str, profile: str, *, javascript: bool = True, log_network: bool = False
    ) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        logs = {"browser": "ALL"} | ({"performance": "ALL"} if log_network else {})
        options.set_capability("goog:loggingPrefs", logs)
        self.driver = webdriver.Chrome(
            options=options, service=Service(shutil.which("chromedriver"))
        )
        self.base = base
        self.expected: list[str] = []
        self.command("Page.addScriptToEvaluateOnNewDocument", source=WITNESS)
        if not javascript:
            self.command("Emulation.setScriptExecutionDisabled", value=True)
        self.resize(1440, 900)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.quit()

    def command(self, name: str, **given: Any) -> Any:
        """Sends a command of Chrome's own protocol."""
        return self.driver.execute_cdp_cmd(name, given)

    def resize(self, width: int, height: int) -> None:
        """Sets the size of the viewport; below 800 it is a phone's."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 800,
        )  # fmt: skip

    def prefer(self, scheme: str, motion: str = "no-preference") -> None:
        """Sets what the system prefers: `light` or `dark`, and `reduce` for motion."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        self.command("Emulation.setEmulatedMedia", features=features)

    def visit(self, path: str) -> None:
        self.driver.get(self.base + path)

    def sign_in(self, name: str, password: str = "correct horse battery") -> None:
        """Signs in by the form, from wherever the browser is."""
        if not self.driver.current_url.startswith(self.base + "/login"):
            self.visit("/login")
        self.fill(username=name, password=password)
        self.follow("Sign in")

    def fill(self, **fields: str) -> None:
        """Types into fields by their id."""
        for name, text in fields.items():
            element = self.one(f"#{name}")
            element.clear()
            element.send_keys(text)

    def press(self, words: str) -> None:
        """Presses the visible button or link that says these words, or has them among others."""
        kinds = "self::button or self::a or self::summary"
        whole = f"//*[{kinds}][normalize-space(.) = '{words}']"
        part = f"//*[{kinds}][contains(normalize-space(.), '{words}')]"
        self.until(lambda: self.pressed(whole, part), f"nothing to press says {words!r}")

    def pressed(self, *paths: str) -> bool:
        found = next(filter(None, map(self.shown, paths)), None)
        if found:
            found.click()
        return found is not None

    def leave(self, act: Callable[[], None]) -> None:
        """Acts, and waits until another document is there: asking the old one misleads."""
        old = self.one("html")
        act()
        self.until(lambda: is_gone(old), "it leads nowhere")

    def follow(self, words: str) -> None:
        """Presses what says these words, and waits until the page it leads to is there."""
        self.leave(lambda: self.press(words))

    def click(self, selector: str) -> None:
        """Clicks the element; finds it again when a swap takes it away in between."""
        self.until(lambda: self.clicked(selector), f"{selector} can't be clicked")

    def clicked(self, selector: str) -> bool:
        self.one(selector).click()
        return True

    def shown(self, path: str) -> WebElement | None:
        found = self.driver.find_elements(By.XPATH, path)
        return next((each for each in found if each.is_displayed()), None)

    def one(self, selector: str) -> WebElement:
        """Returns the element, as soon as it is there."""
        return self.until(
            lambda: next(iter(self.driver.find_elements(By.CSS_SELECTOR, selector)), None),
            f"there is no {selector}",
        )

    def all(self, selector: str) -> list[WebElement]:
        """Returns the elements that are there now."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def keys(self, text: str) -> None:
        """Types on the page itself."""
        self.driver.switch_to.active_element.send_keys(text)

    def drag(self, selector: str, begin: float, end: float) -> None:
        """Drags along the middle of an element, from and to such shares of its width."""
        element = self.one(selector)
        width = element.size["width"]
        actions = ActionChains(self.driver)
        actions.move_to_element_with_offset(element, int((begin - 0.5) * width), 0)
        actions.click_and_hold().move_by_offset(int((end - begin) * width), 0).release().perform()

    def read(self, selector: str) -> str:
        """Returns the element's words on one line."""
        # In a list, because no words are something too.
        found = self.until(lambda: [self.one(selector).text], f"{selector} doesn't stay")
        return " ".join(found[0].split())

    def content(self, selector: str) -> str:
        """Returns the element's words on one line, folded away or not."""
        found = self.until(
            lambda: [self.one(selector).get_attribute("textContent") or ""],
            f"{selector} doesn't stay",
        )
        return " ".join(found[0].split())

    def until(self, found: Callable[[], Any], complaint: str, seconds: float = 10) -> Any:
        """Returns what `found` returns once it is something."""

        def look(_: object) -> Any:
            try:
                return found()
            except WebDriverException as error:
                if not says_gone(error):
                    raise
                return None

        return WebDriverWait(self.driver, seconds, 0.05).until(look, complaint)

    def until_text(self, selector: str, words: str, seconds: float = 10) -> None:
        """Waits until the element says these words."""
        self.until(lambda: words in self.read(selector), f"{selector} lacks {words!r}", seconds)

    def until_settled(self) -> None:
        """Waits until no panel is loading and every figure on screen is drawn."""
        self.until(self.rests, "the page never settled", 20)

    def rests(self) -> bool:
        """Whether the page is settled and stays so: a swap may set off the next."""
        if not self.script(SETTLED):
            return False
        time.sleep(0.15)
        return bool(self.script(SETTLED))

    def script(self, text: str, *arguments: Any) -> Any:
        return self.driver.execute_script(text, *arguments)

    @property
    def path(self) -> str:
        """The path and query the address bar shows."""
        return self.driver.current_url.removeprefix(self.base)

    def complaints(self) -> list[str]:
        """Returns the console's warnings and errors, but for those that were expected."""
        entries = [e for e in self.driver.get_log("browser") if e["level"] in LOUD]
        spoken = [json.dumps(entry) for entry in entries] + self.violations()
        return [each for each in spoken if not any(word in each for word in self.expected)]

    def violations(self) -> list[str]:
        """Returns what the content security policy has blocked in this tab so far."""
        kept = self.script("return sessionStorage.getItem('violations')")
        found: list[str] = json.loads(kept or "[]")
        return found


def says_gone(error: WebDriverException) -> bool:
    """Whether an element went with its page; in the midst of that the driver has other words."""
    gone = "does not belong to the document"
    return isinstance(error, StaleElementReferenceException) or gone in str(error)


def is_gone(element: WebElement) -> bool:
    try:
        element.is_enabled()
    except WebDriverException as error:
        if not says_gone(error):
            raise
        return True
    return False


@contextmanager
def browser_for(base: str, who: str | None) -> Iterator[Browser]:
    """Yields a new browser in which `who` is signed in; nobody for None."""
    prefix = f"chromium-{os.getpid()}-"
    with (
        tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as profile,
        Browser(base, profile) as opened,
    ):
        if who:
            opened.sign_in(who)
            opened.until_settled()
        yield opened


# Keeps violations of the policy and shifts of the layout over reloads and swaps.
WITNESS = """
document.addEventListener("securitypolicyviolation", (event) => {
  const seen = JSON.parse(sessionStorage.getItem("violations") || "[]");
  seen.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
  sessionStorage.setItem("violations", JSON.stringify(seen));
});
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""
SETTLED = """
const busy = document.querySelector(".htmx-request, .skeleton");
const plots = [...document.querySelectorAll("[data-figure]")];
return document.readyState === "complete" && !busy
    && plots.every((each) => each.dataset.shown === "" || each.querySelector(".main-svg"));
"""
ESCAPE = Keys.ESCAPE
