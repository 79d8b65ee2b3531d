"""Take screenshots of the demo, comparison and diagnosis pages, 1280 and 390 pixels wide, and of the dark demo.

    python benchmarks/screenshots/run.py [--work DIR] [--out docs/img] [--all]

What is not yet in ``--work`` is made there: ``demo`` (``counterpoise demo``), ``digits``
(scikit-learn's hand-written digits, each half of an image a modality), and from them the pages. The pictures go to
``--out``: those that the documents show, or all of them with ``--all``. It needs Chromium, chromedriver and the
development tools.
"""

from __future__ import annotations

import argparse
import base64
import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from counterpoise.cli.main import main as counterpoise

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ("demo-1280",)
"""The pictures of pages that documents show."""
WIDTHS = (1280, 390)
HEIGHT = {1280: 2600, 390: 2400}
"""Pixels from the top that a picture shows at most."""
LIMIT = 400_000
"""Bytes of a picture."""


def make_pages(work: Path) -> dict[str, Path]:
    """Make what is missing, and return the pages by name."""
    demo, digits = work / "demo", work / "digits"
    if not (demo / "report.html").is_file():
        run("demo", "--out", str(demo))
    if not digits.is_dir():
        write_digits(work / "digits.npz")
        run(
            "compare",
            "--data",
            str(work / "digits.npz"),
            "--methods",
            "unimodal,uniform,ogm-ge,arm",
            "--out",
            str(digits),
        )
    page = work / "comparison.html"
    run("report", str(demo), str(digits), "--out", str(page))
    joint = next(p for p in sorted((demo / "runs").iterdir()) if "method: joint" in (p / "config.yaml").read_text())
    run("diagnose", str(joint), "--out", str(work / "diagnosis"))
    return {
        "demo": demo / "report.html",
        "comparison": page,
        "diagnosis": work / "diagnosis" / "diagnosis.html",
    }


def run(*arguments: str) -> None:
    status = counterpoise(arguments)
    if status:
        sys.exit(f"counterpoise {' '.join(arguments)} ended with {status}")


def write_digits(path: Path) -> None:
    """Write the upper and the lower half of each digit as two modalities."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    upper, lower = images[:, :4].reshape(len(images), -1), images[:, 4:].reshape(len(images), -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, upper=upper, lower=lower, label=digits.target)


def open_browser(profile: str) -> Any:
    from selenium import webdriver

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        sys.exit("Pictures need Chromium and chromedriver. Debian: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={profile}")
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=chromedriver))


def picture(driver: Any, page: Path, width: int, scheme: str) -> bytes:
    """Return a PNG of the beginning of a page."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    driver.get(page.resolve().as_uri())
    driver.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => setTimeout(done, 500))")
    height = driver.execute_script("return document.documentElement.scrollHeight")
    area = {"x": 0, "y": 0, "width": width, "height": min(height, HEIGHT[width]), "scale": 1}
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": area})
    return compress(base64.b64decode(shot["data"]))


def compress(png: bytes) -> bytes:
    """Return the picture in as many colours as fit the limit."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (256, 128, 64, 32):
        buffer = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        if buffer.tell() <= LIMIT:
            break
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=None, help="folder for runs and pages; a temporary one by default")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "img", help="folder for the pictures")
    parser.add_argument("--all", action="store_true", help="also pictures that no document shows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        pages = make_pages(options.work or Path(temporary))
        options.out.mkdir(parents=True, exist_ok=True)
        driver = open_browser(f"{temporary}/profile")
        try:
            wanted = [(n, w, "light") for n in pages for w in WIDTHS] + [("demo", 1280, "dark")]
            for name, width, scheme in wanted:
                stem = f"{name}-{width}" + ("-dark" if scheme == "dark" else "")
                if options.all or stem in SHOWN:
                    png = picture(driver, pages[name], width, scheme)
                    (options.out / f"{stem}.png").write_bytes(png)
                    print(f"{options.out / stem}.png: {len(png) / 1000:.0f} kB", flush=True)
        finally:
            driver.quit()


if __name__ == "__main__":
    main()
