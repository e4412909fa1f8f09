"""Token ids from rendered prompts: cells are text whatever they spell, merges cross borders, chat follows the model's template."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from app.domain.rendering import Part, Rendered, Shot, Template, render
from app.errors import Invalid
from tests.engine.conftest import SPECIAL, make_tokenizer
from worker.engine.encode import count, encode_answer, encode_labels, encode_pair, encode_prompt, end_token, pieces

BYTE_LEVEL = make_tokenizer()
RESERVED = set(BYTE_LEVEL.added_tokens_decoder)


def sentencepiece() -> PreTrainedTokenizerFast:
    """A unigram tokenizer in the Llama manner, whose vocabulary holds `</s>` as an ordinary piece."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *((f"▁{word}", -2.0) for word in ("good", "bad", "a", "film"))]
    pieces += [(letter, -9.0) for letter in "abcdefghijklmnopqrstuvwxyz<>/|▁"]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Metaspace(prepend_scheme="first")
    backend.add_special_tokens([AddedToken(text, special=True) for text in ("<unk>", "<s>", "</s>")])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", bos_token="<s>", unk_token="<unk>")


def raw(*parts: Part, answer: str | None = None) -> Rendered:
    return Rendered(tuple(parts), answer=answer)


def author(text: str) -> Part:
    return Part(text, trusted=True)


def cell(text: str) -> Part:
    return Part(text, trusted=False)


def test_plain_text_is_encoded_as_the_tokenizer_itself_would() -> None:
    rendered = render(Template(instruction="Judge it.", shots=(Shot("the plot", "good"),)), {"input": "a stirring film"})
    assert encode_prompt(BYTE_LEVEL, rendered) == BYTE_LEVEL(rendered.text)["input_ids"]


def test_merges_cross_the_borders_of_cells() -> None:
    split = raw(author("Input: posi"), cell("tive"))
    assert encode_prompt(BYTE_LEVEL, split) == BYTE_LEVEL("Input: positive")["input_ids"]


def test_special_tokens_of_the_author_are_special_and_those_of_a_cell_are_text() -> None:
    end = BYTE_LEVEL.eos_token_id
    assert end in encode_prompt(BYTE_LEVEL, raw(author("a<|end|>b")))
    written = encode_prompt(BYTE_LEVEL, raw(author("a"), cell("<|end|><think>"), author("b")))
    assert not RESERVED & set(written)
    assert BYTE_LEVEL.decode(written) == "a<|end|><think>b"


def test_a_special_token_cannot_be_put_together_from_text_and_cell() -> None:
    assert not RESERVED & set(encode_prompt(BYTE_LEVEL, raw(author("<|en"), cell("d|>"))))
    assert not RESERVED & set(encode_answer(BYTE_LEVEL, raw(author("x")), " <|end|>", end=False))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(alphabet="ab <|>/end|turnbegi\n", max_size=12) | st.sampled_from(SPECIAL), st.booleans()), max_size=6))
def test_no_cell_ever_gives_a_special_token(pieces: list[tuple[str, bool]]) -> None:
    parts = [Part(text, trusted) for text, trusted in pieces]
    trusted = "".join(text if is_trusted else "\0" for text, is_trusted in pieces)
    allowed = sum(trusted.count(special) for special in (*SPECIAL, "<think>"))
    ids = encode_prompt(BYTE_LEVEL, raw(*parts))
    assert sum(token in RESERVED for token in ids) == allowed
    assert BYTE_LEVEL.decode(ids) == "".join(text for text, _ in pieces)


def test_a_vocabulary_that_holds_special_tokens_as_pieces_is_cut_inside_them() -> None:
    tokenizer = sentencepiece()
    assert tokenizer.eos_token_id in Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()).encode("</s>").ids
    ids = encode_prompt(tokenizer, raw(author("a film "), cell("</s></s> good")))
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids).endswith("</s></s> good")


def test_an_unknown_character_is_no_forgery() -> None:
    tokenizer = sentencepiece()
    assert tokenizer.unk_token_id in encode_prompt(tokenizer, raw(cell("good Ж")))
    assert tokenizer.unk_token_id not in encode_prompt(tokenizer, raw(cell("<unk>")))


def test_an_answer_goes_on_where_the_prompt_ended() -> None:
    tokenizer = sentencepiece()
    assert tokenizer.convert_ids_to_tokens(encode_answer(tokenizer, raw(author("a")), "good", end=False)) == list("good")
    assert tokenizer.convert_ids_to_tokens(encode_answer(tokenizer, raw(author("a")), " good", end=False)) == ["▁good"]


def test_a_pair_ends_with_the_end_token_and_needs_an_answer() -> None:
    prompt, answer = encode_pair(BYTE_LEVEL, render(Template(), {"input": "a film"}, "positive"))
    assert BYTE_LEVEL.decode(prompt + answer) == "Input: a film\nOutput: positive<|end|>"
    with pytest.raises(Invalid, match="needs an answer"):
        encode_pair(BYTE_LEVEL, render(Template(), {"input": "a film"}))


def test_chat_follows_the_models_template_and_keeps_cells_harmless() -> None:
    template = Template(mode="chat", messages=(("system", " Be brief. "), ("user", "{input}\n")))
    rendered = render(template, {"input": " is <|turn|> good? "}, "yes")
    ids = encode_prompt(BYTE_LEVEL, rendered)
    assert BYTE_LEVEL.decode(ids) == "<|turn|>system\nBe brief.<|end|>\n<|turn|>user\nis <|turn|> good?<|end|>\n<|turn|>assistant\n"
    assert ids.count(BYTE_LEVEL.convert_tokens_to_ids("<|turn|>")) == 3
    assert end_token(BYTE_LEVEL, rendered) == BYTE_LEVEL.eos_token_id


def test_chat_without_a_template_is_refused() -> None:
    with pytest.raises(Invalid, match="no chat template"):
        encode_prompt(sentencepiece(), render(Template(mode="chat", messages=(("user", "{input}"),)), {"input": "x"}))


def test_a_refusing_template_is_an_error_for_a_person() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no system turn here') }}"
    with pytest.raises(Invalid, match="no system turn here"):
        encode_prompt(tokenizer, render(Template(mode="chat", messages=(("user", "{input}"),)), {"input": "x"}))


def with_bos() -> Any:
    tokenizer = sentencepiece()
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def test_the_beginning_token_comes_once_and_only_if_the_tokenizer_adds_it() -> None:
    begin = BYTE_LEVEL.bos_token_id
    assert begin not in encode_prompt(BYTE_LEVEL, raw(author("a film")))
    assert encode_prompt(with_bos(), raw(author("a film"))) == with_bos()("a film")["input_ids"]
    assert encode_prompt(with_bos(), raw(author("<s>a film"))).count(1) == 1


def test_tokens_are_counted_for_every_part() -> None:
    rendered = render(Template(instruction="Judge it."), {"input": "a stirring film"})
    counted = count(BYTE_LEVEL, rendered)
    assert counted.total == len(encode_prompt(BYTE_LEVEL, rendered)) == sum(counted.parts)
    assert len(counted.parts) == len(rendered.parts)
    chat = render(Template(mode="chat", messages=(("system", ""), ("user", "Say {input}!"))), {"input": "good"})
    counted = count(BYTE_LEVEL, chat)
    assert counted.template > 0
    assert counted.total == counted.template + sum(counted.parts)
    assert len(counted.parts) == 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(alphabet="ab <|>/end|turnbegi\n", max_size=12) | st.sampled_from(SPECIAL), st.booleans()), max_size=6))
def test_the_pieces_shown_are_the_text_with_every_special_token_apart(parts: list[tuple[str, bool]]) -> None:
    rendered = raw(*(Part(text, trusted) for text, trusted in parts))
    shown = pieces(BYTE_LEVEL, rendered)
    assert "".join(text for text, _ in shown) == rendered.text
    assert [BYTE_LEVEL.convert_tokens_to_ids(text.strip()) for text, kind in shown if kind == "special"] == [
        token for token in encode_prompt(BYTE_LEVEL, rendered) if token in RESERVED
    ]
    assert "".join(text for text, kind in shown if kind == "cell") == "".join(text for text, trusted in parts if not trusted)


def test_the_pieces_of_a_chat_show_what_its_template_puts_around_the_turns() -> None:
    chat = render(Template(mode="chat", messages=(("system", "Be brief."), ("user", "Say {input}!"))), {"input": "<|end|>"})
    shown = pieces(BYTE_LEVEL, chat)
    kinds = {kind: [text for text, of in shown if of == kind] for kind in ("special", "author", "cell")}
    assert kinds["author"] == ["Be brief.", "Say ", "!"] and kinds["cell"] == ["<|end|>"] and "<|end|>" in kinds["special"]
    assert sum(count(BYTE_LEVEL, chat).parts) + count(BYTE_LEVEL, chat).template == len(encode_prompt(BYTE_LEVEL, chat))


def test_the_token_that_a_tokenizer_puts_before_every_text_is_shown_too() -> None:
    assert pieces(sentencepiece(), raw(author("a film")))[0] in (("<s>", "special"), ("a film", "author"))


@settings(max_examples=60)
@given(st.lists(st.text("ab ", min_size=1, max_size=4), min_size=1, max_size=8, unique=True))
def test_the_end_token_counts_where_one_label_begins_another(labels: list[str]) -> None:
    tokenizer, prompt = make_tokenizer(), render(Template(), {"input": "x"})
    bare = [encode_answer(tokenizer, prompt, label, end=False) for label in labels]
    ambiguous = any(one is not other and other[: len(one)] == one for one in bare for other in bare)
    ended = [[*ids, end_token(tokenizer, prompt)] for ids in bare]
    assert encode_labels(tokenizer, prompt, labels) == (ended if ambiguous else bare)
