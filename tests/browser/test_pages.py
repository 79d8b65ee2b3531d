"""Every page in a real browser: no errors, no requests, drawn charts, keyboard access and readability.

The tests go through what is on a page, not through a list of sections, so a new section is covered when it appears.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.common.keys import Keys

EVIL_CLASS = "<script>alert(1)</script>"
EVIL_MODALITY = "<img src=x onerror=alert(2)>"
EVIL_DATA = "wards & <b>beds"

PAGES = ("comparison", "single", "diagnosis")
REPORTS = ("comparison", "single")

everywhere = pytest.mark.parametrize("page", PAGES)
reports = pytest.mark.parametrize("page", REPORTS)


def through_tabs(browser: Any) -> list[int]:
    """Return the numbers of the tabs to look at; a page without any is looked at once."""
    return list(range(max(len(browser.tabs()), 1)))


def choose(browser: Any, index: int) -> None:
    if browser.tabs():
        browser.tabs()[index].click()
    browser.settle()


def outside(urls: list[str], page: Path) -> list[str]:
    return [url for url in urls if url.partition("#")[0] != page.as_uri() and not url.startswith(("data:", "blob:"))]


def dialogue(browser: Any) -> str | None:
    try:
        return str(browser.driver.switch_to.alert.text)
    except NoAlertPresentException:
        return None


# -- silence -----------------------------------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_complains_and_nothing_leaves_the_file(
    page: str, scheme: str, browser: Any, pages: dict[str, Path]
) -> None:
    browser.open(pages[page], scheme=scheme)
    for i in through_tabs(browser):
        choose(browser, i)
        browser.unfold()
        for select in browser.css("select"):
            for option in range(browser.js("return arguments[0].options.length", select)):
                browser.js(
                    "arguments[0].selectedIndex = arguments[1];"
                    "arguments[0].dispatchEvent(new Event('change', {bubbles: true}))",
                    select,
                    option,
                )
        browser.js("scrollTo(0, document.documentElement.scrollHeight)")
        browser.settle()
    assert browser.console() == []
    assert outside(browser.requests(), pages[page]) == []
    assert dialogue(browser) is None


def test_a_page_that_complains_and_asks_the_network_is_noticed(browser: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><html><body><p style='color:#bbb;background:#fff'>faint</p><img src='http://127.0.0.1:9/x.png'>"
        "<script>console.error('oh'); absent()</script></body></html>"
    )
    browser.open(bad)
    assert outside(browser.requests(), bad) == ["http://127.0.0.1:9/x.png"]
    said = " ".join(browser.console())
    assert "oh" in said
    assert "absent is not defined" in said
    complaints = " ".join(browser.axe())
    for rule in ("color-contrast", "image-alt", "html-has-lang"):
        assert rule in complaints


@everywhere
def test_pages_are_one_small_file(page: str, pages: dict[str, Path]) -> None:
    assert pages[page].stat().st_size < 8e6


# -- names from data ---------------------------------------------------------------------------------------------------


@everywhere
def test_names_from_data_are_shown_and_not_run(page: str, browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages[page])
    shown = ""
    for i in through_tabs(browser):
        choose(browser, i)
        browser.unfold()
        shown += browser.js("return document.body.innerText")
    assert dialogue(browser) is None
    code = browser.js("return [...document.querySelectorAll('script')].map((s) => s.textContent)")
    assert not [text for text in code if text.strip() == "alert(1)"]
    assert browser.js("return document.querySelectorAll('img[src=\"x\"], main b > i, body [onmouseover]').length") == 0
    if page != "single":
        for name in (EVIL_MODALITY, EVIL_DATA) if page == "comparison" else (EVIL_MODALITY, EVIL_CLASS):
            assert name in shown, f"{name} is not on the page"


# -- charts ------------------------------------------------------------------------------------------------------------

MARKS = """
const shown = (e) => { const r = e.getBoundingClientRect(); return r.width > 0.5 || r.height > 0.5; };
const marks = '.plot path, .plot rect, .plot circle, .plot image, .hm image, svg path, svg rect, svg circle, '
  + 'svg polyline, svg use, canvas, img, audio, video, table';
return [...document.querySelectorAll(arguments[0])].filter((f) => f.offsetParent !== null).map((f) => ({
  id: f.id || f.textContent.trim().slice(0, 60),
  width: f.getBoundingClientRect().width,
  marks: [...f.querySelectorAll(marks)].filter(shown).length,
  plotly: f.matches('.chart') ? f.classList.contains('js-plotly-plot') : null,
  traces: [...f.querySelectorAll(
    '.scatterlayer .trace, .barlayer .trace, .heatmaplayer .hm, .violinlayer .trace, .boxlayer .trace'
  )].map(
    (t) => [...t.querySelectorAll('path, image, rect')]
      .filter((m) => m.tagName === 'image' || m.getBBox().width + m.getBBox().height > 0).length),
}));
"""


@everywhere
def test_every_figure_has_marks(page: str, browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages[page])
    seen = 0
    for i in through_tabs(browser):
        choose(browser, i)
        figures = browser.js(MARKS, "figure")
        charts = browser.js(MARKS, ".chart")
        seen += len(figures)
        assert [f["id"] for f in figures if not f["marks"]] == []
        assert [c["id"] for c in charts if not c["plotly"] or c["width"] < 200] == []
        assert [c["id"] for c in charts if not c["traces"] or max(c["traces"]) == 0] == []
    assert seen >= (1 if page == "diagnosis" else 5)


@reports
def test_the_dark_scheme_redraws_the_charts(page: str, browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages[page])
    look = (
        "const d = document.querySelector('.chart'); const s = (e, k) => getComputedStyle(e)[k];"
        "return [s(document.body, 'backgroundColor'), s(document.body, 'color'), "
        "s(d.querySelector('.xtick text'), 'fill')]"
    )
    light = browser.js(look)
    browser.scheme("dark")
    browser.settle()
    dark = browser.js(look)

    def brightness(colour: str) -> float:
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 765

    assert brightness(light[0]) > 0.9 > 0.2 > brightness(dark[0])
    for i in (1, 2):  # the text of the page and of the axes
        assert brightness(light[i]) < 0.5 < brightness(dark[i])


@everywhere
def test_pictures_and_sounds_are_there(page: str, browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages[page])
    for i in through_tabs(browser):
        choose(browser, i)
        browser.unfold()
        pictures = browser.js(
            "return [...document.images].filter((i) => i.offsetParent).map((i) => [i.naturalWidth, i.alt])"
        )
        assert all(width > 0 and alt for width, alt in pictures)
        sounds = browser.driver.execute_async_script(
            """
            const done = arguments[0];
            const all = [...document.querySelectorAll('audio, video')].filter((a) => a.offsetParent !== null);
            Promise.all(all.map((a) => new Promise((ready) => {
              const say = () => ready([a.controls, !a.autoplay, a.getAttribute('aria-label') || a.title,
                a.error ? a.error.message : '', a.duration || 0]);
              a.addEventListener('loadedmetadata', say); a.addEventListener('error', say);
              a.preload = 'auto'; a.load(); setTimeout(say, 5000);
            }))).then(done);
            """
        )
        for controls, waits, name, error, duration in sounds:
            assert controls
            assert waits
            assert name
            assert not error
            assert duration > 0
    assert browser.console() == []


# -- tabs and filters --------------------------------------------------------------------------------------------------


def shown_panel(browser: Any) -> list[str]:
    return browser.js(
        "return [...document.querySelectorAll('[role=\"tabpanel\"]')].filter((p) => p.offsetParent).map((p) => p.id)"
    )


def selected(browser: Any) -> list[int]:
    tabs = browser.tabs()
    return [i for i, tab in enumerate(tabs) if tab.get_attribute("aria-selected") == "true"]


def test_tabs_work_by_click_and_by_keyboard(browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages["comparison"])
    tabs = browser.tabs()
    count = len(tabs)
    assert count >= 3  # all data sets, and each
    panels = [tab.get_attribute("aria-controls") for tab in tabs]
    assert selected(browser) == [0]
    for i in reversed(range(count)):
        tabs[i].click()
        assert (selected(browser), shown_panel(browser)) == ([i], [panels[i]])
    keys = {Keys.ARROW_RIGHT: 1, Keys.END: count - 1, Keys.ARROW_LEFT: count - 2, Keys.HOME: 0}
    for key, expected in keys.items():
        browser.press(key)
        assert (selected(browser), shown_panel(browser)) == ([expected], [panels[expected]])
        assert browser.driver.switch_to.active_element == tabs[expected]
    browser.press(Keys.ARROW_LEFT)  # around the corner
    assert selected(browser) == [count - 1]
    assert sum(tab.get_attribute("tabindex") == "0" for tab in tabs) == 1


def test_a_tab_can_be_linked_to(browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages["comparison"])
    browser.tabs()[1].click()
    url = browser.driver.current_url
    assert "#" in url
    browser.open(pages["comparison"], part="#" + url.partition("#")[2])
    assert selected(browser) == [1]


@reports
def test_the_filter_of_all_numbers(page: str, browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages[page])
    browser.unfold()
    rows = (
        "return [...document.querySelectorAll('#numbers tbody tr')].filter((r) => !r.hidden).map((r) => r.textContent)"
    )
    everything = browser.js(rows)
    (field,) = browser.css("#filter")
    field.click()
    browser.press(*"Joint ACC")
    shown = browser.js(rows)
    assert 0 < len(shown) < len(everything)
    assert shown == [r for r in everything if "joint" in r.lower() and "acc" in r.lower()]
    browser.press(*"zzz")
    assert browser.js(rows) == []
    browser.press(*[Keys.BACKSPACE] * 12)
    assert browser.js(rows) == everything


@reports
def test_every_choice_works_by_keyboard(page: str, browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages[page])
    tried = 0
    for i in through_tabs(browser):
        choose(browser, i)
        for select in browser.css("select"):
            if browser.js("return arguments[0].options.length", select) < 2:
                continue
            browser.js("arguments[0].scrollIntoView({block: 'center'}); arguments[0].focus()", select)
            before = browser.js("return document.querySelector('main').innerHTML")
            browser.press(Keys.ARROW_DOWN)
            browser.settle()
            assert browser.js("return arguments[0].selectedIndex", select) == 1
            after = browser.js("return document.querySelector('main').innerHTML")
            assert after != before, browser.js("return arguments[0].id", select)
            tried += 1
    assert tried
    assert browser.console() == []


@everywhere
def test_everything_folded_opens_by_keyboard(page: str, browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages[page])
    for i in through_tabs(browser):
        choose(browser, i)
        for summary in browser.css("summary"):
            details = "return arguments[0].parentElement.open"
            browser.js("arguments[0].focus()", summary)
            assert not browser.js(details, summary)
            browser.press(Keys.ENTER)
            assert browser.js(details, summary)
            browser.press(Keys.SPACE)
            assert not browser.js(details, summary)


# -- the keyboard's way through ----------------------------------------------------------------------------------------

FOCUSED = """
const e = document.activeElement;
if (!e || e === document.body || e === document.documentElement) return null;
window.__stops = window.__stops || [];
const s = getComputedStyle(e), r = e.getBoundingClientRect();
const previous = window.__stops[window.__stops.length - 1];
const again = previous === e;
const forwards = !previous || again || Boolean(previous.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING);
const known = window.__stops.includes(e);
if (!again) window.__stops.push(e);
return {
  name: e.tagName.toLowerCase() + (e.id ? '#' + e.id : '') + ' '
    + (e.getAttribute('aria-label') || e.textContent).trim().slice(0, 40),
  forwards, again, known,
  ring: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 1,
  inside: r.width > 0 && r.height > 0 && r.bottom > 0 && r.top < innerHeight && r.right > 0 && r.left < innerWidth,
};
"""

WANTED = """
return [...document.querySelectorAll(
  'a[href], button, select, input, textarea, summary, audio[controls], video[controls], [tabindex="0"]'
)]
  .filter((e) => e.checkVisibility() && !e.disabled && e.tabIndex >= 0 && !(window.__stops || []).includes(e))
  .map((e) => e.outerHTML.slice(0, 120));
"""


@everywhere
def test_the_focus_goes_through_in_order_and_is_seen(page: str, browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages[page])
    stops = []
    for _ in range(600):
        browser.press(Keys.TAB)
        stop = browser.js(FOCUSED)
        if stop is None or (stop["known"] and not stop["again"]):  # out of the page, or around
            break
        stops.append(stop)
    else:
        pytest.fail("the focus does not come out of the page again")
    assert stops
    assert [s["name"] for s in stops if not s["forwards"]] == [], "against the order of the page"
    assert [s["name"] for s in stops if not s["ring"]] == [], "no visible focus"
    assert [s["name"] for s in stops if not s["inside"]] == [], "focused out of sight"
    assert browser.js(WANTED) == [], "never reached"


@reports
def test_the_first_stop_jumps_to_the_content(page: str, browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages[page])
    browser.press(Keys.TAB)
    assert browser.driver.switch_to.active_element.get_attribute("href").endswith("#main")
    browser.press(Keys.ENTER)
    browser.press(Keys.TAB)
    assert browser.js("return document.querySelector('main').contains(document.activeElement)")


# -- for everybody, everywhere -----------------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_axe_finds_nothing_serious(page: str, width: int, scheme: str, browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages[page], width=width, scheme=scheme)
    browser.unfold()
    for i in through_tabs(browser):
        choose(browser, i)
        assert browser.axe() == []
        browser.unfold(shut=True)  # what is folded is made alike on every tab


@everywhere
def test_a_phone_need_not_scroll_sideways(page: str, browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages[page], width=390)
    for i in through_tabs(browser):
        choose(browser, i)
        browser.unfold()
        wide = browser.js(
            "const w = document.documentElement; return [w.clientWidth, w.scrollWidth, "
            "[...document.querySelectorAll('body *')]"
            ".filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > w.clientWidth + 1 "
            "&& !e.closest('.scroll, .tabs, svg, pre, [style*=overflow]'))"
            ".slice(0, 5).map((e) => e.outerHTML.slice(0, 100))]"
        )
        assert wide[0] == 390
        assert wide[1] <= 390, wide[2]


@everywhere
@pytest.mark.parametrize("width", [390, 1280])
def test_no_table_is_cut(page: str, width: int, browser: Any, pages: dict[str, Path]) -> None:
    """Tables fit the window without a scroll bar, however long the names in them are."""
    browser.open(pages[page], width=width)
    for i in through_tabs(browser):
        choose(browser, i)
        browser.unfold()
        cut = browser.js(
            "return [...document.querySelectorAll('.scroll')]"
            ".filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1)"
            ".map((e) => [e.getAttribute('aria-label'), e.scrollWidth, e.clientWidth])"
        )
        assert cut == []


@everywhere
def test_it_starts_with_an_answer(page: str, browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages[page])
    for i in through_tabs(browser):
        choose(browser, i)
        (lead,) = browser.css(".verdict .lead")
        assert re.search(r"\d", lead.text)
        assert lead.rect["y"] + lead.rect["height"] < 700  # seen without scrolling
        if page != "comparison":
            assert len(lead.text.split()) <= 50


@everywhere
def test_it_prints(page: str, browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages[page], scheme="dark")
    made = browser.driver.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
    pdf = base64.b64decode(made["data"])
    assert pdf.startswith(b"%PDF")
    count = max(map(int, re.findall(rb"/Count (\d+)", pdf)))
    assert count >= max(len(browser.tabs()), 1)  # every tab is printed
    assert browser.console() == []
