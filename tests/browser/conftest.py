"""A real Chromium, and pages made as people make them: train on small data sets, compare, report, diagnose."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from counterpoise.cli.main import main
from counterpoise.runs import read_records, write_records

EVIL_CLASS = "<script>alert(1)</script>"
EVIL_MODALITY = "<img src=x onerror=alert(2)>"
EVIL_DATA = "wards & <b>beds"

PAGES = ("comparison", "single", "diagnosis")

# What a page of either kind may ask for without leaving the file.
INSIDE = ("data:", "blob:")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the browser's tests in one process: pages are made and Chromium is started once."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("browser"))


# -- pages -------------------------------------------------------------------------------------------------------------


def _clips(path: Path) -> None:
    """Write pictures and sounds of three classes."""
    from counterpoise.data import from_arrays

    rng = np.random.default_rng(0)
    n, length, rate = 180, 1600, 8000
    label = rng.integers(3, size=n)
    image = rng.normal(0.3, 0.1, (n, 1, 12, 12))
    sound = rng.normal(0, 0.3, (n, length, 1))
    for k in range(3):
        image[label == k, 0, 4 * k : 4 * k + 4] += 0.4
        sound[label == k, :, 0] += np.sin(2 * np.pi * (200 + 300 * k) * np.arange(length) / rate)
    known = {"rate_sound": np.array(rate)} if "rates" in inspect.signature(from_arrays).parameters else {}
    names = np.array(["bell", "drum", "flute"])
    np.savez(path, image=image.astype("f4"), sound=sound.astype("f4"), label=label, class_names=names, **known)


def _wards(path: Path) -> None:
    """Write vectors and sequences whose names are code that must not run."""
    rng = np.random.default_rng(1)
    n = 240
    label = rng.integers(3, size=n)
    vitals, motion = rng.normal(size=(n, 4)), rng.normal(size=(n, 20, 3))
    vitals[np.arange(n), label] += 2
    motion[np.arange(n), :, label] += 0.3
    names = np.array([EVIL_CLASS, "walks & <i>talks</i>", '" onmouseover="alert(3)'])
    np.savez(
        path,
        **{"vitals": vitals.astype("f4"), EVIL_MODALITY: motion.astype("f4"), "label": label, "class_names": names},
    )


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages by name: two data sets, one data set, and a diagnosis."""
    folder = tmp_path_factory.mktemp("pages")
    data = [folder / "clips.npz", folder / f"{EVIL_DATA}.npz"]
    _clips(data[0])
    _wards(data[1])
    out, one = folder / "comparison", folder / "one"
    quick = ["--fit.epochs", "2", "--fit.accelerator", "cpu", "--model.width", "8", "--jobs", "1"]
    methods = "unimodal,joint,arm"
    arguments = ["--data", ",".join(map(str, data)), "--methods", methods, "--seeds", "2", "--out", str(out), *quick]
    assert main(["compare", *arguments]) == 0
    records, _ = read_records([out])
    write_records(one / "runs.jsonl", [r for r in records if r.data == "clips"])
    paths = {name: folder / f"{name}.html" for name in ("comparison", "single")}
    (folder / "broken").mkdir()
    (folder / "broken" / "record.json").write_text("{}")
    assert main(["report", str(out), str(folder / "broken"), "--out", str(paths["comparison"])]) == 0
    assert main(["report", str(one), "--out", str(paths["single"])]) == 0
    joint = next(r.key for r in records if r.data == EVIL_DATA and r.method == "joint")
    assert main(["diagnose", str(out / "runs" / joint), "--out", str(folder / "diagnosis")]) == 0
    return paths | {"diagnosis": folder / "diagnosis" / "diagnosis.html"}


# -- the browser -------------------------------------------------------------------------------------------------------


@dataclass
class Browser:
    """A page in a Chromium whose console and network are written down.

    Attributes:
        driver: selenium's.
    """

    driver: Any

    def open(self, page: Path, *, width: int = 1280, height: int = 900, scheme: str = "light", part: str = "") -> None:
        """Open a page at a width in CSS pixels, in the light or the dark scheme."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        self.scheme(scheme)
        self.driver.get("about:blank")
        self.console(), self.requests()  # forget what was before
        self.driver.get(page.as_uri() + part)
        self.js("return document.readyState === 'complete'")

    def scheme(self, name: str, media: str = "") -> None:
        """Switch between light and dark, screen and print."""
        features = [
            {"name": "prefers-color-scheme", "value": name},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})

    def js(self, code: str, *arguments: object) -> Any:
        """Run a function's body in the page."""
        return self.driver.execute_script(code, *arguments)

    def settle(self) -> None:
        """Wait until what was asked for has been drawn."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 30)))"
        )

    def css(self, selector: str) -> list[Any]:
        """Return the elements of a selector that are shown."""
        from selenium.webdriver.common.by import By

        return [e for e in self.driver.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()]

    def press(self, *keys: str) -> None:
        """Press keys wherever the focus is."""
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.driver, duration=0).send_keys(key).perform()

    def console(self) -> list[str]:
        """Return what was said on the console since the last time, and forget it."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return what was asked of the network since the last time, and forget it."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        starts = ("Network.requestWillBeSent", "Network.webSocketCreated", "Network.webTransportCreated")
        asked = [m["params"] for m in messages if m["method"] in starts]
        urls = [p["request"]["url"] if "request" in p else p["url"] for p in asked]
        return [url for url in urls if url != "about:blank"]

    def tabs(self) -> list[Any]:
        """Return the tabs of the data sets; one data set has none."""
        return self.css('[role="tab"]')

    def unfold(self, *, shut: bool = False) -> None:
        """Open everything that can be folded out, or shut it."""
        self.js("document.querySelectorAll('details').forEach((d) => { d.open = !arguments[0]; })", shut)
        self.settle()

    def axe(self) -> list[str]:
        """Return axe-core's serious and critical findings on the visible page. A chart is one named picture."""
        package = pytest.importorskip("axe_core_python", reason="axe-core-python carries axe.min.js")
        if not self.js("return typeof axe !== 'undefined'"):
            self.js((Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
        report = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run({exclude: [['.chart .main-svg']]}, {resultTypes: ['violations']}).then("
            "(r) => done({ran: r.passes.length, violations: r.violations.map((v) => [v.impact, v.id, v.help, "
            "v.nodes.map((n) => n.html.slice(0, 160) + ' ' + (n.any[0] || n.all[0] || n.none[0] || {message: ''})"
            ".message)])}), "
            "(e) => done({error: String(e)}))"
        )
        assert report.get("ran", 0) > 2, report
        return [
            f"{impact} {rule}: {text}: {len(nodes)} times, first {nodes[0]}"
            for impact, rule, text, nodes in report["violations"]
            if impact in ("serious", "critical")
        ]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium, driven by the chromedriver beside it."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next((path for name in names if (path := shutil.which(name))), None)
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        missing = "Chromium" if chromium is None else "chromedriver"
        pytest.skip(f"no {missing} on this machine (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync", "mute-audio"),
        *("autoplay-policy=no-user-gesture-required", f"user-data-dir={tmp_path_factory.mktemp('profile')}"),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.set_capability("unhandledPromptBehavior", "ignore")  # a dialogue would be something that ran
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=chromedriver))
    driver.set_script_timeout(110)  # below selenium's own limit; axe is slow on a busy machine
    try:
        yield Browser(driver)
    finally:
        driver.quit()
