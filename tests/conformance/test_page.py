"""The report's page in a real browser."""

import pytest

from optreg.conformance import Status, Verdict, checks
from optreg.conformance.report import html_page
from optreg.conformance.results.causes import causes
from optreg.conformance.results.verdict import Curve, Finding

pytestmark = pytest.mark.no_cover

SUBJECTS = [
    {"name": "good", "kind": "optimizer", "by": "optreg 0.1.0"},
    {"name": "bad:<b>Class</b>", "kind": "optimizer", "by": "as adamw"},
    {"name": "long." * 12 + "names:Class", "kind": "optimizer", "by": "as adamw", "is": "adamw"},
    {"name": "slope", "kind": "scheduler", "by": "optreg 0.1.0"},
]
FINDING = Finding(
    reason="parameter 0 is </script><b>1</b>", measured=1e-3, bound=1e-15, step=1, coordinate="parameter 0[0]",
    likely="matches eps inside the square root", snippet="import torch\nprint(1 < 2)",
)  # fmt: skip
VERDICTS = [
    Verdict(subject="good", check="M02", status=Status.PASSED, steps=12, comparisons=48),
    Verdict(subject="good", check="M17", status=Status.NOT_APPLICABLE, reason="it has no switches"),
    Verdict(subject="bad:<b>Class</b>", check="M02", status=Status.FAILED, finding=FINDING),
    Verdict(subject="bad:<b>Class</b>", check="M17", status=Status.CRASHED, finding=Finding(reason="died of SIGSEGV")),
    Verdict(
        subject="slope", check="L21", status=Status.PASSED,
        curve=Curve(steps=[0, 1, 2], actual=[1.0, 0.5, 0.0], expected=[1.0, 0.5, 0.0]),
    ),
]  # fmt: skip


@pytest.fixture
def page(browser, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(
        html_page(SUBJECTS, checks(), VERDICTS, causes(VERDICTS), "info", {"lyon": "there is no optimizer 'lyon'"}),
        "utf-8",
    )
    opened = browser.new_page(viewport={"width": 390, "height": 844})
    trouble = []
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on("request", lambda request: trouble.append(request.url) if not request.url.startswith("file:") else None)
    opened.goto(file.as_uri())
    yield opened
    opened.close()
    assert trouble == []


def test_a_cell_opens_its_finding_and_closes_it(page):
    page.get_by_role("button", name="bad:<b>Class</b> M02: failed").click()
    dialog = page.get_by_role("dialog")
    text = dialog.inner_text()
    for part in (
        "parameter 0 is </script><b>1</b>",
        "matches eps inside the square root",
        "0.001",
        "1.000e-15",
        "print(1 < 2)",
    ):
        assert part in text
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()
    page.get_by_role("button", name="good M17: not applicable").click()
    assert "it has no switches" in page.get_by_role("dialog").inner_text()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()


def test_findings_are_listed_above_the_checks(page):
    items = page.locator("ul.findings li")
    assert items.count() == 2
    assert "likely: matches eps inside the square root" in items.first.inner_text()


def test_checks_are_filtered_by_text_and_by_status(page):
    rows = page.locator("tr.check:visible")
    assert rows.count() == 3
    page.get_by_label("Filter checks").fill("hostile traj")
    assert rows.count() == 1
    page.get_by_label("Filter checks").fill("nothing has this name")
    assert page.get_by_text("No check is left by this filter.").is_visible()
    page.get_by_label("Filter checks").fill("")
    for status in ("passed", "not applicable", "failed"):
        page.get_by_label(status, exact=True).uncheck()
    assert rows.count() == 1, "only the row with the crash is left"


def test_on_a_phone_the_page_itself_does_not_scroll_sideways(page):
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_what_could_not_be_judged_is_told(page):
    assert "lyon: there is no optimizer 'lyon'" in page.locator("p.refused").inner_text()


def test_a_schedule_is_drawn_over_its_formula(page):
    lines = page.locator("figure svg polyline")
    assert lines.count() == 2
    assert lines.first.get_attribute("points") == "0.0,1.0 160.0,60.0 320.0,119.0"
