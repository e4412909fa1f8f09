"""Pages as tests read them: by CSS selector, and by the text a person sees."""

from collections.abc import Sequence

from lxml.html import HtmlElement, document_fromstring, fragment_fromstring
from starlette.testclient import TestClient


class Dom:
    """A page or fragment. Every reader raises AssertionError when nothing or too much is found."""

    def __init__(self, text: str) -> None:
        whole = text.lstrip().lower().startswith("<!doctype")
        self.root: HtmlElement = document_fromstring(text) if whole else fragment_fromstring(text, create_parent="div")

    def all(self, selector: str) -> Sequence[HtmlElement]:
        found: Sequence[HtmlElement] = self.root.cssselect(selector)
        return found

    def one(self, selector: str) -> HtmlElement:
        found = self.all(selector)
        assert len(found) == 1, f"{len(found)} elements match {selector}"
        return found[0]

    def text(self, selector: str) -> str:
        """What stands in one element, its white space as a browser shows it."""
        return words(self.one(selector))

    def texts(self, selector: str) -> list[str]:
        return [words(element) for element in self.all(selector)]

    def href(self, selector: str) -> str:
        return str(self.one(selector).get("href"))


def words(element: HtmlElement) -> str:
    return " ".join(str(element.text_content()).split())


def get(client: TestClient, path: str, status: int = 200) -> Dom:
    """A page, with the status it must have."""
    response = client.get(path)
    assert response.status_code == status, f"{response.status_code}: {response.text[:500]}"
    return Dom(response.text)
