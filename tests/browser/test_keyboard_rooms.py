"""Endpoints, the notebook and saved prompts with the keyboard alone: everything is reached by Tab and done by a key, and the keyboard is never lost. In this order."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import SEEN, address, arrived, command, draft_kept, installed, lab, no_violations, press, settled, sign_up, tab_to, write
from tests.installation import Running

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("clean_console")]

PROVOKED = re.compile("status of 409.* at /api/v1/prompts/3/versions")
"""A newer version is there."""


@pytest.fixture(scope="module")
def installation(starter_models: Path) -> Iterator[Running]:
    """`fettle up` with the starter model, allowed to ask itself."""
    with installed(starter_models, itself=True) as found:
        yield found


def choose(page: Page, button: str, choice: str) -> None:
    """Open a menu and choose from it."""
    press(page, button)
    tab_to(page, choice)
    assert page.evaluate(SEEN), f"nobody sees that {choice} has the keyboard"
    page.keyboard.press("Enter")


def confirm(page: Page, title: str) -> None:
    expect(page.get_by_role("dialog", name=title)).to_be_visible()
    press(page, "#confirm [value=yes]")


def save(page: Page, name: str, message: str) -> None:
    page.keyboard.press("Control+s")
    expect(page.locator("#save-name")).to_be_focused()
    write(page, "#save-name", name)
    write(page, "#save-message", message)
    page.keyboard.press("Enter")


def answer(page: Page) -> str:
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-part=counts]")).to_contain_text("tokens read", timeout=120_000)
    settled(page)
    return page.locator("[data-part=stream]").inner_text().strip()


def test_an_endpoint_is_added_tested_and_its_models_priced(installation: Running, page: Page) -> None:
    sign_up(page, installation.said())
    token = command(installation, "token", "create", "--name", "endpoint")
    page.keyboard.press("g")
    page.keyboard.press("m")
    arrived(page, re.compile("/models$"))
    press(page, "#main a[href='/endpoints']")
    arrived(page, re.compile("/endpoints$"))
    press(page, "#main a[href='/endpoints/new']")
    arrived(page, re.compile("/endpoints/new$"))
    write(page, "[name=name]", "myself")
    write(page, "[name=url]", f"{address(installation)}/v1")
    write(page, "[name=key]", token)
    page.keyboard.press("Enter")
    arrived(page, re.compile(r"/endpoints/\d+$"))
    test = page.get_by_role("button", name="Test connection")
    tab_to(page, "form[action$='/test'] button")
    with page.expect_request("**/test") as asked:
        page.keyboard.press("Enter")
    expect(test).to_be_focused()
    expect(page.get_by_text("It answers: 1 model listed")).to_be_visible(timeout=60_000)
    expect(test).to_be_focused()
    expect(test).not_to_have_attribute("aria-disabled", "true")
    assert asked.value.method == "POST"
    press(page, "[name=use-0]", "Space")
    expect(page.get_by_label("starter", exact=True)).to_be_checked()
    for name, value in (("input-0", "100"), ("output-0", "200"), ("window-0", "8192")):
        write(page, f"[name={name}]", value)
    press(page, "[name=tokenizer-0]", "ArrowDown")
    counted = page.locator("[name=tokenizer-0]")
    expect(counted).not_to_have_value("")
    press(page, "form[action$='/models'] .actions button")
    expect(page.get_by_text("myself/starter")).to_be_visible()
    page.reload()
    for name, value in (("input-0", "100"), ("output-0", "200"), ("window-0", "8192")):
        expect(page.locator(f"[name={name}]")).to_have_value(value)
    expect(counted).not_to_have_value("")
    no_violations(page)


def test_an_endpoints_settings_are_changed_and_its_deletion_thought_better_of(page: Page) -> None:
    press(page, "#main details.drawer summary")
    write(page, "[name=concurrency]", "3")
    page.keyboard.press("Enter")
    expect(page.locator(".lede")).to_contain_text("3 requests at once")
    page.wait_for_load_state("load")  # before that a question is not asked
    press(page, "#main details.drawer summary")
    press(page, "#main form[action$='/delete'] button")
    expect(page.get_by_role("dialog", name="Delete myself?")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Delete this endpoint")).to_be_focused()
    tab_to(page, "#main a[href^='/lab?model=']", back=True)
    page.keyboard.press("Enter")
    arrived(page, re.compile("/lab"))
    expect(page.locator("[data-part=model]")).to_contain_text("myself/starter")


def test_a_kept_run_opens_again_and_another_is_deleted(installation: Running, page: Page) -> None:
    lab(installation, page, "?new=1")
    write(page, "#instruction", "Say what the message is about.")
    write(page, "#input", "My parcel has not arrived.")
    press(page, "[data-part=parameters] summary")
    write(page, "[data-parameter=max_tokens]", "6")
    first = answer(page)
    tab_to(page, "#input", back=True)
    page.keyboard.press("Control+a")
    page.keyboard.type("The invoice is a cent off.")
    expect(page.locator("[data-part=stale]")).to_be_visible()
    answer(page)
    draft_kept(page)
    choose(page, ".lab-open", "#saved-menu a[href='/lab/notebook']")
    arrived(page, re.compile("/lab/notebook$"))
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(2)
    older = rows.nth(1).get_by_role("link").get_attribute("href")
    press(page, f"a[href='{older}']")
    expect(page.locator("#lab:not([inert])")).to_be_attached()
    expect(page.locator("#input")).to_have_value("My parcel has not arrived.")
    expect(page.locator("#instruction")).to_have_value("Say what the message is about.")
    expect(page.locator("[data-part=changed]")).to_have_text("max tokens 6")
    expect(page.locator("[data-part=stream]")).to_have_text(first)
    choose(page, ".lab-open", "#saved-menu a[href='/lab/notebook']")
    arrived(page, re.compile("/lab/notebook$"))
    press(page, "[aria-label^='Delete the run My parcel']")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("The invoice is a cent off.")


def test_a_whole_session_of_the_notebook_is_looked_at_and_deleted(page: Page) -> None:
    press(page, "#main a[href*='session=']")
    arrived(page, re.compile("session="))
    expect(page.locator("tbody tr")).to_have_count(1)
    delete = "#main section form[action='/lab/notebook/clear'] button"
    press(page, delete)
    expect(page.get_by_role("dialog", name="Delete the session?")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    no_violations(page)
    page.keyboard.press("Enter")
    expect(page.locator(delete)).to_be_focused()
    # Asked again before the browser has said that the dialog is closed: neither answer is the other's.
    page.evaluate("""async () => {
        const { ask } = await import("/static/js/dialogs.js");
        const dialog = document.getElementById("confirm"), first = ask({ text: "one" });
        dialog.close("yes");
        const second = ask({ text: "two" });
        dialog.close("no");
        if (!(await first) || (await second)) throw new Error("an answer was lost");
    }""")
    page.locator(delete).evaluate("button => { button.click(); document.getElementById('confirm').close(); button.click() }")
    confirm(page, "Delete the session?")
    expect(page.locator("tbody tr")).to_have_count(0)
    expect(page.get_by_role("heading", name="Nothing was run yet")).to_be_visible()


def test_an_older_version_is_restored_and_a_prompt_duplicated(installation: Running, page: Page) -> None:
    lab(installation, page, "?new=1")
    write(page, "#instruction", "Rate the report.")
    save(page, "Urgency", "as it came")
    expect(page.locator("#prompt-name")).to_have_text("Urgency v1")
    write(page, "#instruction", "Rate the report by what has stopped.")
    save(page, "Urgency", "longer")
    expect(page.locator("#prompt-name")).to_have_text("Urgency v2")
    choose(page, ".lab-open", "#saved-menu a[href^='/prompts/']")
    arrived(page, re.compile(r"/prompts/\d+$"))
    press(page, "[aria-label='Restore version 1']")
    confirm(page, "Restore version 1?")
    rows = page.locator("#main tbody tr")
    expect(rows).to_have_count(3)
    expect(page.get_by_role("region", name="The wording of version 3")).to_contain_text("Rate the report.\n")
    choose(page, "[popovertarget=prompt-menu]", "#prompt-menu form[action$='/duplicate'] button")
    expect(page.get_by_role("heading", level=1)).not_to_have_text("Urgency")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Urgency")
    expect(page.get_by_role("region", name=re.compile("The wording"))).to_contain_text("Rate the report.\n")


def test_a_prompt_goes_out_as_a_file_and_comes_in_again(installation: Running, page: Page, tmp_path: Path) -> None:
    page.on("filechooser", lambda _: None)  # from now on choosers are caught; a key pressed right after asking for that would come before it
    page.goto(f"{address(installation)}/prompts")
    press(page, "#main a[href='/prompts/3']")
    arrived(page, re.compile("/prompts/3$"))
    press(page, "[popovertarget=prompt-menu]")
    tab_to(page, "#prompt-menu a[download]")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    path = tmp_path / "urgency.prompt.json"
    download.value.save_as(path)
    assert [one["message"] for one in json.loads(path.read_text())["versions"]][:2] == ["as it came", "longer"]
    page.keyboard.press("Escape")
    expect(page.locator("[popovertarget=prompt-menu]")).to_be_focused()
    page.goto(f"{address(installation)}/prompts")
    press(page, "[data-dialog=import-dialog]")
    expect(page.locator("#import-file")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(path)
    press(page, "#import-form .primary")
    arrived(page, re.compile(r"/prompts/\d+$"))
    assert not page.url.endswith("/3")
    expect(page.locator("#main tbody tr")).to_have_count(3)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Urgency")


def test_a_link_is_copied_that_opens_exactly_its_version(installation: Running, page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address(installation))
    page.goto(f"{address(installation)}/prompts/3")
    press(page, "[aria-label='Copy a link to version 2']")
    expect(page.locator(".toast")).to_contain_text("Link copied")
    expect(page.get_by_role("button", name="Copy a link to version 2")).to_be_focused()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == f"{address(installation)}/lab?prompt=3@2"
    page.goto(link)
    expect(page.locator("#lab:not([inert])")).to_be_attached()
    expect(page.locator("#prompt-name")).to_have_text("Urgency v2")
    expect(page.locator("#instruction")).to_have_value("Rate the report by what has stopped.")
    page.evaluate("navigator.clipboard.writeText('nothing')")
    choose(page, ".lab-open", "#saved-menu [data-link]")
    expect(page.locator(".toast")).to_contain_text("Link copied")
    assert page.evaluate("navigator.clipboard.readText()") == link


def newer(installation: Running, page: Page, instruction: str, message: str) -> None:
    """Somebody else saves a version of the prompt."""
    body = {"instruction": instruction, "message": message}
    made = page.request.post(f"{address(installation)}/api/v1/prompts/3/versions", data=body, headers={"Origin": address(installation)})
    assert made.ok, made.text()


def test_a_newer_version_is_seen_beside_ones_own_and_one_is_chosen(installation: Running, page: Page) -> None:
    lab(installation, page, "?prompt=3")
    write(page, "#instruction", "Rate it: high, medium or low.")
    newer(installation, page, "Rate it by who waits.", "for the desk")
    save(page, "Urgency", "words only")
    dialog = page.get_by_role("dialog", name="There is a newer version")
    expect(dialog).to_contain_text("Version 4 is newer than version 3, which yours began from: “for the desk”")
    expect(page.get_by_role("button", name="Keep mine")).to_be_focused()
    expect(dialog.locator("del").first).to_be_visible()
    expect(dialog.locator("ins").first).to_be_visible()
    for name, text in (("Theirs, whole", "Rate it by who waits."), ("Yours, whole", "Rate it: high, medium or low.")):
        press(page, f"#clash-diff details:has([aria-label='{name}']) summary")
        expect(dialog.get_by_role("region", name=name)).to_contain_text(text)
    no_violations(page)
    press(page, "#clash-dialog [value=theirs]")
    expect(page.locator("#instruction")).to_have_value("Rate it by who waits.")
    expect(page.locator("#prompt-name")).to_have_text("Urgency v4")
    expect(page.locator("#instruction")).to_be_focused()
    tab_to(page, "#before-back", back=True)
    page.keyboard.press("Enter")
    expect(page.locator("#instruction")).to_have_value("Rate it: high, medium or low.")
    expect(page.locator("#instruction")).to_be_focused()
    save(page, "Urgency", "words only")
    expect(dialog).to_be_visible()
    press(page, "#clash-dialog [value=mine]")
    expect(page.locator("#prompt-name")).to_have_text("Urgency v5")
    expect(page.locator("#instruction")).to_be_focused()
    expect(page.locator("#instruction")).to_have_value("Rate it: high, medium or low.")


def test_a_draft_that_was_changed_elsewhere_is_seen_beside_ones_own(installation: Running, page: Page) -> None:
    draft_kept(page)
    there = page.request.get(f"{address(installation)}/lab/draft?key=3").json()
    there["state"]["fields"]["instruction"] = "Rate it from another desk."
    body = {"key": "3", "revision": there["revision"], "state": there["state"], "account": int(page.locator("html").get_attribute("data-account") or 0)}
    kept = page.request.put(f"{address(installation)}/lab/draft", data=body, headers={"Origin": address(installation)})
    assert kept.ok, kept.text()
    page.keyboard.press("Control+End")
    page.keyboard.type(" Nothing else.")
    dialog = page.get_by_role("dialog", name="This draft was changed elsewhere")
    expect(page.get_by_role("button", name="Keep mine")).to_be_focused()
    expect(dialog.locator("del").filter(has_text="another")).to_be_visible()
    expect(dialog.locator("ins").first).to_be_visible()
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator("#instruction")).to_be_focused()
    expect(page.locator("#instruction")).to_have_value("Rate it: high, medium or low. Nothing else.")
    draft_kept(page)
    page.reload()
    expect(page.locator("#instruction")).to_have_value("Rate it: high, medium or low. Nothing else.")
