"""The shared macros under the strict environment: a state is a word and a shape, an interval is drawn where it lies."""

import re
from typing import Any

import pytest
from jinja2 import Template
from lxml import html
from starlette.testclient import TestClient

from app.pages.formatting import axis
from app.pages.render import environment
from tests.house.rules import ROOT


def drawn(source: str, **context: Any) -> html.HtmlElement:
    head = '{% from "shared/_macros.html" import state_badge, verdict_mark, phases, whisker, chart, tip, region, figure %}{% from "shared/_forms.html" import field, choice %}{% from "shared/_empty.html" import empty %}'
    template: Template = environment().from_string(head + source)
    return html.fragment_fromstring(template.render(context), create_parent="div")


@pytest.mark.parametrize("state", ["queued", "running", "stopping", "succeeded", "failed", "cancelled", "something new"])
def test_a_state_is_a_word_and_a_shape(state: str) -> None:
    badge = drawn("{{ state_badge(state) }}", state=state).cssselect(".badge")[0]
    assert badge.text_content() == state
    assert badge.cssselect("svg[aria-hidden=true] > *")


def test_whatever_uses_a_thing_is_linked_to_its_own_page(browser: TestClient) -> None:
    """What a refused deletion names: every noun that a service may name."""
    nouns = sorted({noun for file in (ROOT / "app" / "services").glob("*.py") for noun in re.findall(r'\bUser\("([^"]+)"', file.read_text())})
    assert {"experiment", "judgement", "reliability check"} <= set(nouns)
    head = '{% from "shared/_users.html" import users_of %}{{ users_of(error) }}'
    found = environment().from_string(head).render(error={"users": [{"noun": noun, "id": 7, "name": noun} for noun in nouns]})
    links = {link.text_content(): str(link.get("href")) for link in html.fragment_fromstring(found, create_parent="div").cssselect("a")}
    assert list(links) == nouns
    for noun, href in links.items():
        answer = browser.get(href)
        assert answer.status_code == 404 and noun.split()[-1] in answer.text and "7" in answer.text, f"{href} is no page of a {noun}"


def test_a_whisker_lies_on_its_axis() -> None:
    scale = axis([0.6, 1.0], baseline=0.7)
    found = drawn("{{ whisker(0.8, 0.7, 0.9, scale, name='LoRA') }}", scale=scale)
    assert found.cssselect("svg")[0].get("aria-label") == "LoRA 0.800, 95 % interval 0.700 to 0.900"
    span = found.cssselect(".span")[0]
    assert (span.get("x1"), span.get("x2"), found.cssselect(".dot")[0].get("cx")) == ("25.00%", "75.00%", "50.00%")
    assert found.cssselect(".base")[0].get("x1") == "25.00%"


def test_a_value_below_the_axis_is_an_arrow() -> None:
    found = drawn("{{ whisker(0.4, none, none, scale) }}", scale=axis([0.6, 1.0]))
    assert found.cssselect(".off") and not found.cssselect(".dot, .span")


def test_phases_tell_what_is_done() -> None:
    found = drawn("{{ phases('running', 'train', {'load': '9 s'}, 0.5) }}")
    assert [item.get("data-state") for item in found.cssselect("li")] == ["done", "done", "done", "now", "next", "next"]
    assert found.cssselect("[aria-current=step] progress")[0].get("value") == "50.0"


def test_a_field_ties_its_help_and_error() -> None:
    found = drawn("{{ field('rate', 'Rate', 5, help='0 to 1', error='too large', attrs={'max': 1}) }}")
    control = found.cssselect("input")[0]
    described = (control.get("aria-describedby") or "").split()
    assert [found.get_element_by_id(name).text_content() for name in described] == ["0 to 1", "too large"]
    assert (control.get("aria-invalid"), control.get("max"), found.cssselect("label")[0].get("for")) == ("true", "1", control.get("id"))


def test_chart_data_cannot_leave_its_element() -> None:
    found = drawn("{{ chart('c', 'Loss', spec) }}", spec={"x": "</script><b>", "series": []})
    assert not found.cssselect("b") and found.cssselect("figure[hx-morph-skip] script[type='application/json']")


def test_empty_with_and_without_actions() -> None:
    assert not drawn("{{ empty('None', 'Yet.') }}").cssselect(".actions")
    assert drawn("{% call empty('None', 'Yet.') %}<a>Go</a>{% endcall %}").cssselect(".actions a")
