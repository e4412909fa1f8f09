"""Files that are looked at in a browser before anything is made of them."""

from playwright.sync_api import Page

LABELS = ("rückfrage", "kündigung", "lob")


def letters(rows: int, start: int, delimiter: str, labels: tuple[str, ...] = LABELS) -> str:
    lines = [f"Schöne Grüße, Brief {number}{delimiter}{labels[number % len(labels)]}" for number in range(start, start + rows)]
    return "\n".join([f"brief{delimiter}art", *lines]) + "\n"


def fits(page: Page) -> None:
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, f"{page.url} is {wider} px wider than its window of {width}"
