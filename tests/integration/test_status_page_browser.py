"""The status page in a real browser: live, honest when it is not, and usable by everybody."""

from __future__ import annotations

import signal

import pytest

from ops.status_page.picture import ProcessesSeen, Running
from quantum_ops import streams
from tests import axe
from tests.ledger_story import Ledger
from tests.page_rig import HOSTILE, Program, Site, World, verdict_of
from tests.servers import Server
from tests.supervised import free_port
from tests.waiting import wait_until
from tests.webdriver import Browser

pytestmark = pytest.mark.whole
TAB, ENTER = "\ue004", "\ue007"
WORST = ".verdict .word"


@pytest.fixture(scope="module")
def browser():
    with Browser() as made:
        yield made


@pytest.fixture(scope="module")
def one():
    server = Server("valkey")
    yield server
    server.close()


@pytest.fixture
def world(one):
    return World(one).in_order()


@pytest.fixture
def site(world, tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    ledger.one("first")
    ledger.one(HOSTILE)
    with Site(world.db, ledger.folder.base) as made:
        wait_until(lambda: verdict_of(made.port) == ["OK"], 30)
        yield made


def shows(browser, selector, words):
    """Wait until what stands there says so."""
    wait_until(lambda: words in browser.text(selector), 30, f"{selector} shows {words!r}")


def test_it_is_live_without_a_reload(browser, world, site):
    # given a page that somebody has open, with the keyboard on a link of it
    browser.size(1280)
    browser.open(site.url)
    shows(browser, "#live", "Live.")
    assert browser.text(WORST) == "OK"
    browser.run("window.mark = 1; document.querySelector('#ledger a').focus()")
    # when the universe goes stale, and an entry that nobody permitted is executed
    world.db.hset(streams.UNIVERSE_META, "stale", "1")
    shows(browser, "#universe", "STALE")
    assert browser.text(WORST) == "attention"
    world.violate()
    shows(browser, "#audit", "executed_without_permits")
    assert browser.text(WORST) == "VIOLATION"
    assert browser.run("return document.title") == "VIOLATION · quantum ops"
    # then it shows so without having been loaded again, and the keyboard is where it was
    assert browser.run("return window.mark") == 1
    assert browser.run("return document.activeElement.getAttribute('href')") == "/ledger/2"
    # and it is said to who listens to it
    assert browser.run("return document.querySelector('.word').getAttribute('role')") == "status"
    assert browser.complaints() == []


def test_bytes_of_strangers_stay_text(browser, world, site):
    world.violate(subject=HOSTILE, detail=HOSTILE, finding=HOSTILE[:200])
    world.bury(reason=HOSTILE, group=HOSTILE)
    world.decide(HOSTILE)
    site.processes = ProcessesSeen((Running(HOSTILE, HOSTILE, HOSTILE, False, HOSTILE),), HOSTILE)
    browser.size(400)
    for path in ("", "ledger/2"):
        browser.open(f"{site.url}{path}")
        wait_until(lambda: "<script>" in browser.text("body"), what="it is shown")
        assert browser.run("return document.images.length") == 0
        assert browser.run("return document.title") not in ("1", "2")
        assert browser.run("return document.querySelectorAll('script').length") <= 1
        text = browser.text("body")
        assert "\\x1b" in text or path  # the record's YAML has an escape of its own
        assert not set("\x1b\u202e") & set(text)
        assert _width(browser) == 400
    assert browser.complaints() == []


def test_when_nothing_is_heard_any_more_nothing_looks_good(browser, one, world):
    with Program(one.url, free_port()) as page:
        browser.open(f"http://127.0.0.1:{page.port}/")
        shows(browser, "#live", "Live.")
        # Time passes faster for the page than for us
        browser.run("const real = Date.now; window.ahead = 0; Date.now = () => real() + ahead")
        page.process.send_signal(signal.SIGSTOP)
        try:
            browser.run("window.ahead = 60000")
            shows(browser, "#live", "Not live")
            assert browser.text(WORST) == "not live"
            assert browser.run("return document.title") == "not live · quantum ops"
        finally:
            page.process.send_signal(signal.SIGCONT)
        # and it comes back by itself
        browser.run("window.ahead = 0")
        shows(browser, "#live", "Live.")
        shows(browser, WORST, "attention")


def test_everybody_can_use_it(browser, world, site):
    script = axe.source()
    world.violate()
    world.bury()
    site.processes = ProcessesSeen((), absent="it is a story")
    wait_until(lambda: len(verdict_of(site.port)) >= 4)
    # given the page and a record's page, in light and in dark, wide and narrow
    for scheme, width, path in (
        ("light", 1280, ""), ("dark", 400, ""), ("light", 400, "ledger/1"),
        ("dark", 320, "ledger/1"),
    ):  # fmt: skip
        browser.scheme(scheme)
        browser.size(width)
        browser.open(f"{site.url}{path}")
        # then nothing has to be scrolled sideways
        assert _width(browser) == width
        back = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert (back == "rgb(18, 21, 27)") is (scheme == "dark")
        # and axe finds nothing, contrast included
        browser.run(script)
        found = browser.run_async(
            "axe.run(document, {resultTypes: ['violations']}).then(arguments[0])"
        )
        assert [(v["id"], v["nodes"][0]["html"]) for v in found["violations"]] == []
    browser.scheme("light")


def test_the_keyboard_reaches_everything(browser, world, site):
    world.violate()
    wait_until(lambda: verdict_of(site.port)[0] == "VIOLATION")
    browser.size(1280)
    browser.open(site.url)
    wanted = browser.run("return [...document.querySelectorAll('a')].map(a => a.href)")
    reached = []
    for _ in wanted:
        browser.press(TAB)
        reached.append(browser.run("return document.activeElement.href"))
        # Whoever is there sees it
        style = "const s = getComputedStyle(document.activeElement); "
        outline = browser.run(style + "return [s.outlineStyle, s.outlineWidth]")
        assert outline == ["solid", "3px"]
    assert reached == wanted
    # The last link is the oldest entry: Enter opens it
    browser.press(ENTER)
    shows(browser, "h1", "OPS-")
    assert browser.run("return location.pathname") == "/ledger/1"


def test_without_a_script_it_says_everything_and_loads_itself_again(browser, world, site):
    browser.devtools("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(site.url)
        # Scripts of the driver run all the same
        assert browser.text(WORST) == "OK"
        assert "sanity_checks_passed" in browser.text("#gates").replace("\u200b", "")
        assert browser.text("#live") == "Reload to see what is new."
        refresh = "return document.querySelector('noscript meta')?.httpEquiv"
        assert browser.run(refresh) == "refresh"
    finally:
        browser.devtools("Emulation.setScriptExecutionDisabled", value=False)


def _width(browser) -> int:
    return browser.run("return document.documentElement.scrollWidth")
