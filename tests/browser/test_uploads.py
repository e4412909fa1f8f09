"""Files looked at in a real browser before anything is made of them: a ZIP whose files are splits, and more rows for a dataset. In this order."""

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import APIResponse, BrowserContext, Locator, Page, Request, Route, expect

from tests.browser.steps import address, arrived, no_violations, sign_up, until
from tests.browser.uploading import LABELS, fits, letters
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uploads") / "briefe.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for number, (name, rows) in enumerate((("train", 120), ("dev", 30), ("test", 60))):
            packed.writestr(f"{name}.csv", letters(rows, 1_000 * number, ",").replace("Grüße, Brief", "Grüße Brief"))
        packed.writestr("LIESMICH.txt", "Briefe der Kundschaft.\n")
    return path


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uploads") / "woche.csv"
    path.write_bytes(letters(40, 5_000, ";", (*LABELS, "Lob", "umzug")).encode("latin-1"))
    return path


@pytest.fixture(scope="module", autouse=True)
def somebody(installation: Running, page: Page) -> None:
    """Signed up, whichever of these tests is the first to be run."""
    sign_up(page, installation.said())


def test_files_of_an_archive_become_the_splits_they_are_called_like(installation: Running, page: Page, complaints: list[str], archive: Path) -> None:
    page.goto(f"{address(installation)}/datasets/new")
    page.set_input_files("input[type=file]", str(archive))
    arrived(page, re.compile(r"/datasets/uploads/\d+$"))
    expect(page.locator(".problems")).to_contain_text("several tables", timeout=60_000)
    page.get_by_role("button", name="Read each file as a split").click()
    expect(page.locator(".upload-members select")).to_have_count(3)
    expect(page.locator(".problems")).to_contain_text("No column is named input")
    expect(page.locator("#progress")).to_contain_text("Read to the end", timeout=60_000)
    page.get_by_label("brief", exact=True).check()
    expect(page.locator(".upload-preview thead")).to_contain_text("brief input")
    expect(page.locator("#progress")).to_contain_text("Read to the end", timeout=60_000)
    page.get_by_label("Output").select_option("art")
    expect(page.locator(".upload-preview thead")).to_contain_text("art output")
    expect(page.locator(".upload-preview .member")).to_have_text(["train.csv train", "dev.csv validation", "test.csv test"])
    expect(page.get_by_role("button", name="Freeze version 1")).to_be_enabled(timeout=60_000)
    page.get_by_label("dev.csv").select_option("test")
    expect(page.locator("#upload")).to_contain_text("A test split of 90 rows")
    page.get_by_label("dev.csv").select_option("validation")
    expect(page.locator("#upload")).to_contain_text("A test split of 60 rows")
    expect(page.get_by_role("button", name="Freeze version 1")).to_be_enabled(timeout=60_000)
    no_violations(page)
    fits(page)
    page.get_by_role("button", name="Freeze version 1").click()
    expect(page.get_by_role("heading", name="briefe")).to_be_visible(timeout=60_000)
    expect(page.locator(".figure").nth(2)).to_contain_text("60")
    assert complaints == []


def test_rows_are_appended_after_a_look_at_how_they_are_read(installation: Running, page: Page, complaints: list[str], later: Path) -> None:
    page.get_by_role("link", name="All versions").click()
    page.get_by_role("link", name="Append rows").click()
    page.set_input_files("input[type=file]", str(later))
    expect(page.locator("#encoding option:checked")).to_have_text("CP1252 (found)", timeout=60_000)
    expect(page.locator("#delimiter option:checked")).to_have_text("semicolon (found)")
    expect(page.locator(".upload-preview thead")).to_contain_text("brief input")
    expect(page.locator(".upload-preview tbody td").nth(1)).to_have_text("Schöne Grüße, Brief 5000")
    page.get_by_label("Encoding").select_option("cp1251")
    expect(page.locator(".upload-preview tbody td").nth(1)).to_contain_text("Schцne")
    page.get_by_label("Encoding").select_option("latin-1")
    expect(page.locator(".upload-preview tbody td").nth(1)).to_have_text("Schöne Grüße, Brief 5000")
    expect(page.locator("#new-labels")).to_contain_text("2 labels are new: Lob 8, umzug 8.")
    expect(page.locator("#new-labels")).to_contain_text("“Lob” looks like “lob”")
    expect(page.locator("#beside")).to_contain_text("40 new")
    page.get_by_label("What is new in it").fill("Briefe der Woche")
    no_violations(page)
    fits(page)
    expect(page.get_by_role("button", name="Append as version 2")).to_be_enabled(timeout=60_000)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="Versions")).to_be_visible(timeout=60_000)
    expect(page.locator("tbody tr").first).to_contain_text("Appended 40 rows of woche.csv Briefe der Woche")
    assert complaints == []


def test_an_answer_that_comes_late_does_not_set_back_what_was_chosen_since(installation: Running, page: Page, complaints: list[str], later: Path) -> None:
    """The form is answered once before and once after another change, and a third one is made before the second answer."""
    held: list[tuple[Route, APIResponse]] = []

    def hold(route: Route) -> None:
        if route.request.method == "POST" and len(held) < 2:
            held.append((route, route.fetch()))
        else:
            route.continue_()

    page.goto(f"{address(installation)}/datasets/new")
    page.set_input_files("input[type=file]", str(later))
    expect(page.locator("#encoding option:checked")).to_have_text("CP1252 (found)", timeout=60_000)
    expect(page.locator("#progress")).to_contain_text("Read to the end", timeout=60_000)
    line = page.get_by_label("Begins in line")
    page.route("**/datasets/uploads/*", hold)
    line.fill("2")
    line.press("Tab")
    until(page, lambda: len(held) == 1)
    line.fill("3")
    line.press("Tab")
    route, answer = held[0]
    with page.expect_response("**/datasets/uploads/*") as came:
        route.fulfill(response=answer)
    came.value.finished()
    until(page, lambda: len(held) == 2)
    assert "first_line=3" in (held[1][0].request.post_data or "")
    expect(line).to_have_value("3")
    page.get_by_label("Encoding").select_option("cp1251")
    held[1][0].fulfill(response=held[1][1])
    expect(page.locator(".upload-preview")).to_contain_text("Schцne")
    page.unroute("**/datasets/uploads/*")
    expect(line).to_have_value("3")
    expect(page.locator("#encoding")).to_have_value("cp1251")
    assert complaints == []


def test_a_press_behind_a_field_that_was_just_left_is_not_lost(installation: Running, page: Page, complaints: list[str], tmp_path: Path) -> None:
    """Leaving the field sends the form a moment after the press does, before its answer is there."""
    path = tmp_path / "cafe.csv"
    path.write_bytes(
        b"text,label\n" + b"".join(b"the caf\xe9 number %d,label %d\n" % (number, number % 2) for number in range(40)) + "naïve 中,label 1\n".encode()
    )
    held: list[tuple[Route, APIResponse]] = []
    page.goto(f"{address(installation)}/datasets/new")
    page.set_input_files("input[type=file]", str(path))
    press = page.get_by_role("button", name="Read as Windows-1252")
    expect(press).to_be_visible(timeout=60_000)
    expect(page.locator("#progress")).to_contain_text("Read to the end", timeout=60_000)
    page.route("**/datasets/uploads/*", lambda route: route.continue_() if held else held.append((route, route.fetch())))
    page.get_by_label("Name").fill("coffee")
    press.click()
    until(page, lambda: bool(held))
    page.wait_for_timeout(300)
    held[0][0].fulfill(response=held[0][1])
    expect(page.locator(".problems")).to_have_count(0)
    expect(page.locator("#progress")).to_contain_text("Read to the end", timeout=60_000)
    expect(page.locator("#encoding")).to_have_value("cp1252")
    expect(page.get_by_label("Name")).to_have_value("coffee")
    page.unroute("**/datasets/uploads/*")
    expect(page.get_by_role("button", name="Freeze version 1")).to_be_enabled(timeout=60_000)
    assert complaints == []


def test_a_choice_made_before_the_scripts_of_the_page_run_is_not_lost(installation: Running, page: Page, complaints: list[str], later: Path) -> None:
    page.goto(f"{address(installation)}/datasets/new")
    page.set_input_files("input[type=file]", str(later))
    expect(page.locator("#progress")).to_contain_text("Read to the end", timeout=60_000)
    held: list[Route] = []
    page.route("**/htmx.min.js", lambda route: held.append(route))  # noqa: PLW0108 Playwright marks the function it is given
    page.goto(page.url, wait_until="commit")
    until(page, lambda: bool(held))
    page.get_by_label("Encoding").select_option("cp1251")
    held[0].continue_()
    expect(page.locator(".upload-preview")).to_contain_text("Schцne")
    expect(page.locator("#encoding")).to_have_value("cp1251")
    page.unroute("**/htmx.min.js")
    assert complaints == []


def test_the_test_split_says_what_it_can_detect_while_its_slider_moves(installation: Running, page: Page, complaints: list[str], tmp_path: Path) -> None:
    path = tmp_path / "briefe.csv"
    path.write_text(letters(1_000, 0, ";").replace("brief;art", "text;label"))
    page.goto(f"{address(installation)}/datasets/new")
    page.set_input_files("input[type=file]", str(path))
    expect(page.locator("#detects")).to_contain_text("A test split of 200 rows can detect", timeout=60_000)
    expect(page.get_by_role("button", name="Freeze version 1")).to_be_enabled(timeout=60_000)
    slider, said = page.locator("#test"), []
    with sending(page) as sent:
        hold_at(page, slider, 20)
        page.mouse.down()
        for share in (25, 40, 0, 30):
            hold_at(page, slider, share)
            expect(slider).to_have_value(str(share))
            expect(page.locator("label[for=test]")).to_have_text(f"Test {share} %")
            expect(page.locator("#train")).to_have_text(str(90 - share))
            said.append(page.locator("#detects").inner_text())
    assert [one.split(" can")[0] for one in said] == [
        "A test split of 250 rows",
        "A test split of 400 rows",
        "Without a test split nothing",
        "A test split of 300 rows",
    ]
    assert [one.url for one in sent if one.method == "POST"] == [], "nobody is asked while it moves"
    with page.expect_response(lambda response: response.request.method == "POST") as came:
        page.mouse.up()
    assert "test=30" in (came.value.request.post_data or "")
    assert f">{said[-1]}</p>" in came.value.text(), "the answer says the same"
    assert complaints == []


@contextmanager
def sending(page: Page) -> Iterator[list[Request]]:
    """What the page asks of the server meanwhile."""
    sent: list[Request] = []

    def note(request: Request) -> None:
        sent.append(request)

    page.on("request", note)
    yield sent
    page.remove_listener("request", note)


def hold_at(page: Page, slider: Locator, share: int) -> None:
    """The mouse goes to where the slider says so many per cent."""
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    most, thumb = float(slider.get_attribute("max") or 0), 14
    page.mouse.move(box["x"] + thumb / 2 + (box["width"] - thumb) * share / most, box["y"] + box["height"] / 2)


@contextmanager
def slow_line(page: Page, bytes_a_second: int) -> Iterator[None]:
    """The browser sends no faster."""
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")

    def allow(most: int) -> None:
        line.send("Network.emulateNetworkConditions", {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": most})

    allow(bytes_a_second)
    try:
        yield
    finally:
        allow(-1)
        line.detach()


def stored(installation: Running, page: Page) -> tuple[int, int]:
    """How many uploads there are, and how many of their files."""
    listed = page.request.get(f"{address(installation)}/api/v1/uploads").json()["items"]
    return len(listed), len(list((Path(installation.environment["FETTLE_DATA"]) / "uploads").iterdir()))


def test_the_bar_says_how_much_was_sent_and_cancel_that_nothing_was_stored(installation: Running, page: Page, complaints: list[str], tmp_path: Path) -> None:
    path = tmp_path / "briefe.csv"
    path.write_text(letters(80_000, 0, ";"))
    assert 2_900_000 < path.stat().st_size < 3_500_000
    page.goto(f"{address(installation)}/datasets/new")
    before = stored(installation, page)
    state, bar = page.locator("[data-upload-state]"), page.locator("[data-upload-state] progress")
    with slow_line(page, 150_000):
        page.set_input_files("input[type=file]", str(path))
        page.wait_for_function("bar => bar.value > 0 && bar.value < 1", arg=bar.element_handle())
        expect(state.locator("output")).to_have_text(re.compile(r"^[\d.]+\s[kM]B of 3(\.\d)?\sMB, [\d.]+\s[kM]B/s(, about \d+\ss left)?$"))
        first = float(bar.evaluate("bar => bar.value"))
        page.wait_for_function("([bar, first]) => bar.value > first && bar.value < 1", arg=[bar.element_handle(), first])
        state.get_by_role("button", name="Cancel").click()
        expect(state.locator("output")).to_have_text("Cancelled. Nothing was stored.")
    expect(bar).to_be_hidden()
    expect(state.get_by_role("button", name="Cancel")).to_be_hidden()
    until(page, lambda: stored(installation, page) == before)
    page.reload()
    page.set_input_files("input[type=file]", str(path))
    expect(page.locator("#progress")).to_contain_text("Read to the end", timeout=60_000)
    assert complaints == []


def test_a_file_over_the_limit_is_refused_before_it_is_sent(installation: Running, page: Page, complaints: list[str], tmp_path: Path) -> None:
    path = tmp_path / "riesig.csv"
    with path.open("wb") as file:
        file.truncate(250_000_000)
    page.goto(f"{address(installation)}/datasets/new")
    before = stored(installation, page)
    with sending(page) as sent:
        page.set_input_files("input[type=file]", str(path))
        expect(page.locator("[data-upload-state] output")).to_have_text("riesig.csv has 250\u00a0MB; this installation takes 200\u00a0MB.")
        expect(page.locator("[data-upload-state] progress")).to_be_hidden()
    assert sent == [] and stored(installation, page) == before
    assert complaints == []


@pytest.mark.faults
def test_f21_a_page_whose_server_dies_under_an_upload_says_whether_anything_can_have_been_stored(
    installation: Running, context: BrowserContext, later: Path, tmp_path: Path
) -> None:
    """One file is on its way, another has been sent and is not answered, when web is killed. In this order: it is the last."""
    large, whole = context.new_page(), context.new_page()
    for tab in (large, whole):
        tab.goto(f"{address(installation)}/datasets/new")
    (tmp_path / "large.csv").write_bytes(b"input,output\n" + b"it is good,yes\n" * 4_000_000)
    (web,) = map(psutil.Process, installation.find("app.cli", "web"))
    web.suspend()
    large.set_input_files("input[type=file]", str(tmp_path / "large.csv"))
    whole.set_input_files("input[type=file]", str(later))
    said = {tab: tab.locator("[data-upload-state] output") for tab in (large, whole)}
    expect(said[large]).to_contain_text(re.compile(r"of\s60"))
    expect(said[whole]).to_contain_text("sent; reading the file")
    web.kill()
    expect(said[large]).to_have_text("The connection broke. Nothing was stored; send the file again.")
    expect(said[whole]).to_have_text("The connection broke. The file may have arrived: look at Data before you send it again.")
    until(whole, lambda: installation.find("app.cli", "web") not in ([], [web.pid]) and installation.state()["workers"])
    whole.set_input_files("input[type=file]", str(later))
    expect(whole.locator("#progress")).to_contain_text("Read to the end", timeout=60_000)
    for tab in (large, whole):
        tab.close()
