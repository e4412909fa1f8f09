"""What the Lab keeps, in a real browser with a real model: drafts in two tabs, versions of two people, the notebook, the gallery. In this order."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, expect

from tests.browser.steps import PASSWORD, address, arrived, command, no_violations, sign_up, tab_to, until
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("clean_console")]

PROVOKED = re.compile("status of 401|status of 403.* at /lab/draft|status of 409.* at (/api/v1/prompts/|/lab/test$)|ERR_FAILED")
"""The session ends, somebody else signs in, a newer version is there, the line is cut."""


@pytest.fixture(scope="module")
def second(chromium: Browser, installation: Running) -> Iterator[Page]:
    """Somebody else at another machine."""
    context: BrowserContext = chromium.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.set_default_timeout(30_000)
    sign_up(tab, command(installation, "user", "invite"), "Grace")
    yield tab
    context.close()


def save(page: Page, name: str, message: str) -> None:
    page.keyboard.press("Control+s")
    page.locator("#save-name").fill(name)
    page.locator("#save-message").fill(message)
    page.locator("#save-dialog").get_by_role("button", name="Save").click()


def write(page: Page, text: str) -> None:
    """Type an instruction, and wait until the server has the draft."""
    expect(page.locator("#lab:not([inert])")).to_be_attached()  # nobody can type before the draft stands
    with page.expect_response(lambda response: "/lab/draft" in response.url and response.request.method == "PUT" and response.status == 200):
        page.locator("#instruction").fill(text)


def test_a_sample_opens_as_a_draft_and_answers(installation: Running, page: Page) -> None:
    sign_up(page, installation.said())
    page.goto(f"{address(installation)}/lab")
    expect(page.locator("#starters")).to_be_visible()
    no_violations(page)
    tab_to(page, ".gallery a")
    page.keyboard.press("Enter")
    expect(page.locator("#input")).to_have_value(re.compile("nothing at my door"))
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-part=foot]")).to_contain_text("tokens", timeout=120_000)


def test_the_run_stands_in_the_notebook_and_opens_again(installation: Running, page: Page) -> None:
    answer = page.locator("[data-part=stream]").inner_text().strip()
    page.goto(f"{address(installation)}/lab/notebook")
    row = page.locator("tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("nothing at my door")
    expect(row.locator(".answer")).to_contain_text(answer[:40])
    expect(page.get_by_text("The newest 1,000 are kept")).to_be_visible()
    no_violations(page)
    page.get_by_role("link", name=re.compile("nothing at my door")).click()
    expect(page.locator("#instruction")).to_have_value(re.compile("Name the department"))
    expect(page.locator("#input")).to_have_value(re.compile("nothing at my door"))


def test_a_run_whose_tab_is_closed_is_written_down_too(installation: Running, page: Page, context: BrowserContext) -> None:
    tab = context.new_page()
    tab.goto(f"{address(installation)}/lab?sample=marketing-copy")
    tab.get_by_text("Parameters", exact=False).first.click()
    tab.locator("#c1-max_tokens").fill("900")
    tab.locator("#c1-min_tokens").fill("900")
    tab.keyboard.press("Control+Enter")
    expect(tab.locator("[data-part=stream]")).not_to_be_empty(timeout=120_000)
    tab.close()
    page.goto(f"{address(installation)}/lab/notebook")
    for _ in range(20):
        if page.locator("tbody tr").count() == 2:
            break
        page.wait_for_timeout(500)
        page.reload()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("tbody .answer").first).to_contain_text("stopped")
    page.get_by_role("button", name=re.compile("Delete the run Folding")).click()
    expect(page.locator("tbody tr")).to_have_count(1)


def test_a_reload_and_another_machine_find_the_draft(installation: Running, page: Page, chromium: Browser, context: BrowserContext) -> None:
    page.goto(f"{address(installation)}/lab?new=1")
    write(page, "Draft of the first tab.")
    page.reload()
    expect(page.locator("#instruction")).to_have_value("Draft of the first tab.")
    cookies = context.cookies()
    other = chromium.new_context()
    other.add_cookies(cookies)  # type: ignore[arg-type]
    tab = other.new_page()
    tab.goto(f"{address(installation)}/lab")
    expect(tab.locator("#instruction")).to_have_value("Draft of the first tab.")
    other.close()


def test_what_a_page_sent_before_it_was_loaded_anew_is_nobody_elses(installation: Running, page: Page) -> None:
    """It reaches the server when the next page has asked already what there is: the same tab, so nothing to decide."""
    held: list[str] = []
    page.route("**/lab/draft", lambda route: held.append(route.request.post_data or "") if route.request.method == "PUT" else route.continue_())
    page.locator("#instruction").fill("Draft of the first tab, on its way.")
    until(page, lambda: bool(held))
    page.reload()
    expect(page.locator("#lab:not([inert])")).to_be_attached()
    expect(page.locator("#instruction")).to_have_value("Draft of the first tab, on its way.")
    page.unroute("**/lab/draft")
    late = page.request.put(f"{address(installation)}/lab/draft", data=held[0], headers={"Origin": address(installation), "Content-Type": "application/json"})
    assert late.ok, late.text()
    write(page, "Draft of the first tab.")
    expect(page.locator("#clash-dialog")).to_be_hidden()
    expect(page.locator("#instruction")).to_have_value("Draft of the first tab.")


def test_two_tabs_with_one_draft_lose_nothing(installation: Running, page: Page, context: BrowserContext) -> None:
    tab = context.new_page()
    tab.goto(f"{address(installation)}/lab")
    expect(tab.locator("#instruction")).to_have_value("Draft of the first tab.")
    write(tab, "The second tab was faster.")
    page.locator("#instruction").fill("Draft of the first tab, longer.")
    dialog = page.locator("#clash-dialog")
    expect(dialog).to_be_visible()
    expect(dialog.locator("del").first).to_be_visible()
    expect(dialog.locator("ins").first).to_be_visible()
    dialog.get_by_text("Theirs, whole").click()
    expect(dialog.get_by_role("region", name="Theirs, whole")).to_contain_text("The second tab was faster.")
    no_violations(page)
    with page.expect_response(lambda response: response.request.method == "PUT" and response.status == 200):
        dialog.get_by_role("button", name="Keep mine").press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator("#instruction")).to_have_value("Draft of the first tab, longer.")
    tab.locator("#instruction").fill("The second tab again.")
    expect(tab.locator("#clash-dialog")).to_be_visible()
    tab.get_by_role("button", name="Take theirs").click()
    expect(tab.locator("#instruction")).to_have_value("Draft of the first tab, longer.")
    tab.close()


def test_the_browsers_own_copy_stands_in_while_the_server_is_away(page: Page) -> None:
    page.route("**/lab/draft*", lambda route: route.abort())
    page.locator("#instruction").fill("Typed without a server.")
    expect(page.locator("#kept")).to_contain_text("in this browser only", timeout=20_000)
    page.reload()
    expect(page.locator("#instruction")).to_have_value("Typed without a server.")
    page.unroute("**/lab/draft*")


@pytest.fixture
def saved(installation: Running, page: Page) -> str:
    """A prompt with one version, open in the Lab."""
    page.goto(f"{address(installation)}/lab?sample=urgency")
    save(page, "Urgency", "as it came")
    expect(page.locator(".toast").last).to_contain_text("Saved as Urgency v1.")
    return page.locator(".toast a").last.get_attribute("href") or ""


def test_saving_over_somebodys_newer_version_shows_both(installation: Running, page: Page, second: Page, saved: str) -> None:
    key = saved.rpartition("/")[2]
    second.goto(f"{address(installation)}/lab?prompt={key}")
    second.locator("#instruction").fill("Rate the report by what has stopped.")
    save(second, "Urgency", "shorter")
    expect(second.locator(".toast").last).to_contain_text("v2")
    page.locator("#instruction").fill("Rate the report: high, medium or low.")
    save(page, "Urgency", "words only")
    dialog = page.locator("#clash-dialog")
    expect(dialog).to_contain_text("Version 2 is newer than version 1, which yours began from: “shorter”")
    expect(dialog.locator("ins")).not_to_have_count(0)
    dialog.get_by_role("button", name="Keep mine").click()
    expect(page.locator(".toast").last).to_contain_text("Saved as Urgency v3.")
    second.locator("#instruction").fill("Say how urgent it is.")
    save(second, "Urgency", "plainer")
    second.locator("#clash-dialog").get_by_role("button", name="Take theirs").click()
    expect(second.locator("#instruction")).to_have_value("Rate the report: high, medium or low.")
    second.get_by_role("button", name="Bring it back").click()
    expect(second.locator("#instruction")).to_have_value("Say how urgent it is.")


def test_the_prompts_room_by_keyboard(installation: Running, page: Page) -> None:
    page.goto(f"{address(installation)}/prompts")
    no_violations(page)
    tab_to(page, ".row-link")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Urgency")).to_be_visible()
    no_violations(page)
    tab_to(page, ".alias-name")
    page.keyboard.press("Enter")
    expect(page.locator("#aliases .badge")).to_have_text(["production"])
    tab_to(page, "#main a[aria-label^='Difference']")
    page.keyboard.press("Enter")
    expect(page.locator("ins").first).to_be_visible()
    no_violations(page)


def test_a_link_opens_exactly_its_version_and_a_file_comes_back_in(installation: Running, page: Page, tmp_path_factory: pytest.TempPathFactory) -> None:
    page.goto(f"{address(installation)}/prompts")
    page.get_by_role("link", name="Urgency", exact=True).click()
    link = page.locator("[data-link]").nth(1).get_attribute("data-link") or ""
    with page.expect_download() as download:
        page.get_by_role("button", name="More").click()
        page.get_by_role("link", name="Export as JSON").click()
    path = tmp_path_factory.mktemp("export") / "urgency.prompt.json"
    download.value.save_as(path)
    page.goto(link)
    expect(page.locator("#prompt-name")).to_have_text("Urgency v2")
    expect(page.locator("#instruction")).to_have_value("Rate the report by what has stopped.")
    page.goto(f"{address(installation)}/prompts")
    page.get_by_role("button", name="Import").first.click()
    page.locator("#import-file").set_input_files(str(path))
    page.locator("#import-dialog").get_by_role("button", name="Import").click()
    arrived(page, re.compile(r"/prompts/\d+$"))
    expect(page.locator("#main tbody tr")).to_have_count(3)
    page.get_by_role("button", name="More").click()
    page.get_by_role("button", name="Delete").click()
    page.locator("#confirm").get_by_role("button", name="Delete").click()
    expect(page).to_have_url(re.compile("/prompts$"))


@pytest.mark.parametrize("width", [390, 1280])
def test_the_pages_fit_their_window(installation: Running, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for path in ("/prompts", "/prompts/3", "/prompts/3/diff?older=1&newer=2", "/lab/notebook", "/lab?new=1"):
        page.goto(f"{address(installation)}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    page.set_viewport_size({"width": 1280, "height": 900})


def test_testing_a_draft_of_an_older_version_shows_both(installation: Running, page: Page, second: Page) -> None:
    page.goto(f"{address(installation)}/lab?sample=urgency")
    save(page, "Tested", "as it came")
    expect(page.locator(".toast").last).to_contain_text("Saved as Tested v1.")
    key = (page.locator(".toast a").last.get_attribute("href") or "").rpartition("/")[2]
    second.goto(f"{address(installation)}/lab?prompt={key}")
    write(second, "Rate it by what has stopped, and by nothing else.")
    save(second, "Tested", "shorter")
    expect(second.locator(".toast").last).to_contain_text("v2")
    write(page, "Rate it high, medium or low, as a clerk would.")
    page.locator("#dataset").select_option(label="Support desk v1")
    dialog = page.locator("#clash-dialog")

    def of_two(request: Request) -> bool:
        return request.url.endswith("/lab/test/fit") and (request.post_data_json or {}).get("limit") == 2

    def test() -> None:
        with page.expect_request(of_two):
            page.locator("#test").click()
            page.locator("#test-limit").fill("2")
        expect(page.locator("#test-plan strong")).to_contain_text("2 answers")
        expect(page.locator("#test-plan [data-fit]")).to_contain_text("Every row fits: the longest takes")
        page.locator("#test-start").click()

    test()
    expect(dialog).to_contain_text("Version 2 is newer than version 1, which yours began from: “shorter”")
    dialog.get_by_role("button", name="Keep mine").click()
    expect(page.locator("#prompt-name")).to_have_text("Tested v3")
    expect(page.locator("#tests [data-job]")).to_have_count(1)
    write(second, "Say how urgent it is to whoever is on duty.")
    save(second, "Tested", "plainer")
    second.locator("#clash-dialog").get_by_role("button", name="Keep mine").click()
    expect(second.locator(".toast").last).to_contain_text("v4")
    write(page, "Rate it in one word.")
    test()
    dialog.get_by_role("button", name="Take theirs").click()
    expect(page.locator("#instruction")).to_have_value("Say how urgent it is to whoever is on duty.")
    expect(page.locator(".toast").last).to_contain_text("nothing was tested")
    expect(page.locator("#tests [data-job]")).to_have_count(1)


def test_the_next_person_at_this_browser_finds_nothing_of_the_one_before(installation: Running, page: Page) -> None:
    page.goto(f"{address(installation)}/lab?new=1")
    write(page, "Ada's own words.")
    page.locator("#instruction").fill("Ada's last words.")

    def sign_out() -> None:
        page.locator("button.account").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        arrived(page, re.compile("/sign-in$"))
        assert page.evaluate("() => Object.keys(localStorage).filter((name) => name.startsWith('lab-'))") == []

    sign_out()
    sign_up(page, command(installation, "user", "invite"), "Edsger")
    page.goto(f"{address(installation)}/lab")
    expect(page.locator("#lab:not([inert])")).to_be_attached()
    expect(page.locator("#instruction")).to_have_value("")
    write(page, "Edsger's.")
    page.reload()
    expect(page.locator("#instruction")).to_have_value("Edsger's.")
    sign_out()
    page.get_by_label("Name").fill("Ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    page.goto(f"{address(installation)}/lab")
    expect(page.locator("#instruction")).to_have_value("Ada's last words.")  # sent before the session ended


def test_a_refusal_that_comes_while_somebody_signs_out_leads_nowhere_else(installation: Running, page: Page) -> None:
    """Its session being over, a preview would go to the sign-in page that does not know who left."""
    page.goto(f"{address(installation)}/lab?new=1")
    write(page, "Ada's, and nobody else's.")
    held: dict[str, Route] = {}
    page.route("**/lab/preview", lambda route: held.update(preview=route))
    page.route("**/sign-out", lambda route: held.update(leaving=route))
    page.locator("#instruction").fill("Ada's, and nobody else's at all.")
    until(page, lambda: "preview" in held)
    page.locator("button.account").click()
    page.get_by_role("button", name="Sign out").click(no_wait_after=True)
    until(page, lambda: "leaving" in held)
    with page.expect_response("**/lab/preview"):
        held["preview"].fulfill(status=401, json={})
    page.wait_for_timeout(500)  # long enough for it to have gone
    held["leaving"].continue_()
    arrived(page, re.compile("/sign-in$"))
    assert page.evaluate("() => Object.keys(localStorage).filter((name) => name.startsWith('lab-'))") == []
    page.unroute_all()
