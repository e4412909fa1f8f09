"""A file sent through the pages, and its form filled in, as a browser does it."""

from starlette.testclient import TestClient

from app.services import imports
from tests.dom import Dom, get


def upload(browser: TestClient, content: str | bytes, filename: str = "tickets.csv", live: bool = False, to: str = "/datasets/uploads", **fields: str) -> str:
    """Send a file as the form does (`live`: as static/js/upload.js does); returns the page it leads to, with the report made."""
    data = content.encode() if isinstance(content, str) else content
    headers = {"HX-Request": "true"} if live else {}
    response = browser.post(to, files={"file": (filename, data, "text/csv")}, data=fields, headers=headers)
    assert response.status_code == (204 if live else 303), response.text[:300]
    place = response.headers["hx-redirect" if live else "location"]
    imports.run(key_of(place))
    return str(place)


def key_of(place: str) -> int:
    return int(place.rsplit("/", 1)[1])


def form(page: Dom, **changes: str | list[str]) -> dict[str, str | list[str]]:
    """The upload's form as a browser would send it, with some fields changed."""
    values: dict[str, list[str]] = {}
    for element in page.all("#upload input[name], #upload select[name]"):
        sent = values.setdefault(element.get("name", ""), [])
        if element.tag == "select":
            chosen = element.cssselect("option[selected]") or element.cssselect("option")
            sent.append(chosen[0].get("value", ""))
        elif element.get("type") != "checkbox" or element.get("checked") is not None:
            sent.append(element.get("value", ""))
    return {**values, **changes}


def change(browser: TestClient, place: str, **changes: str | list[str]) -> Dom:
    response = browser.post(place, data=form(get(browser, place), **changes), headers={"HX-Request": "true"})
    assert response.status_code == 200
    imports.run(key_of(place))
    return get(browser, place)
