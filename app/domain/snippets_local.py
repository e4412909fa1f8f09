"""View code without a server: transformers, peft for an adapter, llguidance for an answer that is held to a form. Pure, as snippets.py."""

from app.domain.generation import grammar_of
from app.domain.snippets import Asked, Weights, literal, text_literal

TRANSFORMERS = {"max_tokens": "max_new_tokens", "min_tokens": "min_new_tokens", "repetition_penalty": "repetition_penalty"}
SAMPLING = ("temperature", "top_p", "top_k")

USUAL = """usual = model.generation_config  # what its authors propose beside it (beams, penalties) is not what was asked for
ends = usual.eos_token_id if isinstance(usual.eos_token_id, list) else [usual.eos_token_id]
model.generation_config = GenerationConfig(eos_token_id={ends}, decoder_start_token_id=usual.decoder_start_token_id)
"""

HELD = """
class Held(LogitsProcessor):
    \"\"\"Only those tokens may come next with which the answer keeps to its form.\"\"\"

    def __init__(self, grammar):
        width = model.config.get_text_config(decoder=True).vocab_size
        tokens = llguidance.hf.from_tokenizer(tokenizer, n_vocab=width, eos_token=model.generation_config.eos_token_id)
        self.matcher = LLMatcher(tokens, grammar)
        self.bits = llguidance.numpy.allocate_token_bitmask(1, width)

    def __call__(self, ids, scores):
        if ids.shape[1] > start:
            self.matcher.consume_token(int(ids[0, -1]))
        llguidance.numpy.fill_next_token_bitmask(self.matcher, self.bits, 0)
        allowed = np.unpackbits(self.bits.view(np.uint8), bitorder="little")[: scores.shape[1]]
        return scores.masked_fill(torch.from_numpy(allowed == 0).to(scores.device), -torch.inf)

    def __deepcopy__(self, memo):  # peft copies what generate() is given
        return self

"""

PENALTY = """
class Penalty(LogitsProcessor):
    \"\"\"Takes from the scores of the tokens that the answer has already.\"\"\"

    def __call__(self, ids, scores):
        for row, written in zip(scores, ids[:, start:]):
            found, times = written.unique(return_counts=True)
            row[found] -= times * {frequency} + {presence}
        return scores

"""

LATE = """
class Stops(StoppingCriteria):
    \"\"\"Stop sequences are looked for in what follows the first {free} tokens.\"\"\"

    def __call__(self, ids, scores, **_):
        late = len(tokenizer.decode(ids[0, start : start + {free}], skip_special_tokens=True))
        text = tokenizer.decode(ids[0, start:], skip_special_tokens=True)[late:]
        return torch.tensor([any(stop in text for stop in stops)], device=ids.device)

"""


def why_not(asked: Asked) -> str:
    """Why there is no such snippet; empty where there is one."""
    if asked.weights and asked.weights.encoder_decoder and asked.parameters.repetition_penalty != 1.0:
        return "generate() does not count the prompt's tokens for the repetition penalty of an encoder-decoder. Without the penalty there is code here."
    if asked.parameters.constraint and asked.parameters.min_tokens:
        return "generate() cannot hold an answer to a form and to a least number of tokens at once. Without min tokens there is code here."
    return ""


def transformers(asked: Asked) -> str:
    """A whole program; empty where the weights are not here, or where `why_not` says why."""
    weights = asked.weights
    if weights is None or why_not(asked):
        return ""
    kind = "AutoModelForSeq2SeqLM" if weights.encoder_decoder else "AutoModelForCausalLM"
    adapter = [f"model = PeftModel.from_pretrained(model, {literal(weights.adapter)})"] if weights.adapter else []
    lines = [
        *_imports(asked, weights, kind),
        "",
        *_fetching(asked.address, weights),
        f"folder = {literal(weights.folder)}",
        'device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f"model = {kind}.from_pretrained(folder, dtype=dtype)",
        # A chat's turns end as its template ends them; a text ends where the tokenizer's own end token is.
        *USUAL.format(ends="ends" if asked.rendered.messages else "sorted({*ends, tokenizer.eos_token_id} - {None})").splitlines(),
        *adapter,
        "model = model.to(device).eval()",
        "",
        *_told(asked),
        "start = 1" if weights.encoder_decoder else 'start = inputs["input_ids"].shape[1]',
        *_classes(asked),
        *_answers(asked),
    ]
    return "\n".join(lines) + "\n"


def _imports(asked: Asked, weights: Weights, kind: str) -> list[str]:
    held = asked.parameters.constraint is not None
    names = [kind, "AutoTokenizer", "GenerationConfig"]
    names += ["LogitsProcessor"] if held or _penalty(asked) else []
    names += ["StoppingCriteria"] if _late(asked) else []
    guided = ["import llguidance.hf", "import llguidance.numpy", "import numpy as np"] if held else []
    return [
        *guided,
        "import torch",
        *(["from llguidance import LLMatcher"] if held else []),
        *(["from peft import PeftModel"] if weights.adapter else []),
        f"from transformers import {', '.join(names)}",
    ]


def _fetching(address: str, weights: Weights) -> list[str]:
    """Where the folders come from."""
    ask = f'curl -H "Authorization: Bearer $FETTLE_TOKEN" -o model.zip {address}/api/v1/models/{{}}/download && python -m zipfile -e model.zip {{}}'
    lines = ["# The weights, once:", f"#   {ask.format(weights.folder_id, weights.folder)}"]
    return lines + ([f"#   {ask.format(weights.adapter_id, weights.adapter)}"] if weights.adapter else [])


def _told(asked: Asked) -> list[str]:
    """What the model reads, and where its answer stops."""
    if asked.rendered.messages:
        lines = [
            f"messages = {literal(asked.messages, 0)}",
            'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True).to(device)',
        ]
    else:
        lines = [f"prompt = {text_literal(asked.rendered.text, 0)}", f'inputs = tokenizer(prompt, return_tensors="pt"{_split(asked)}).to(device)']
    lines += [f"stops = {literal(asked.stop, 0)}"] if asked.stop else []
    forged = [] if _split(asked) else asked.special(trusted=False)
    return lines + ([f"# {', '.join(forged)} may be a special token here; on the page, where it is a value, it is not."] if forged else [])


def _split(asked: Asked) -> str:
    """Values are text, whatever they spell. The tokenizer can only be told so of all of a text."""
    if asked.rendered.messages:  # apply_chat_template cannot be told at all
        return ""
    return ", split_special_tokens=True" if asked.special(trusted=False) and not asked.special(trusted=True) else ""


def _penalty(asked: Asked) -> bool:
    return bool(asked.parameters.frequency_penalty or asked.parameters.presence_penalty)


def _late(asked: Asked) -> int:
    """How many tokens an answer has before a stop sequence may end it; generate() would stop at one in them, too."""
    return max(0, asked.parameters.min_tokens - 1) if asked.stop else 0


def _classes(asked: Asked) -> list[str]:
    """What generate() has no word for, as programs: which scores of the next token are changed, and when an answer has ended."""
    text = ""
    if _penalty(asked):
        text += PENALTY.format(frequency=asked.parameters.frequency_penalty, presence=asked.parameters.presence_penalty)
    if asked.parameters.constraint:
        text += HELD
    if _late(asked):
        text += LATE.format(free=_late(asked))
    return [*text.splitlines(), ""] if text else []


def _answers(asked: Asked) -> list[str]:
    """Write the answer and print it, as often as was asked for: each one has the next seed, and begins anew to keep to its form."""
    chosen, lines = asked.parameters, list[str]()
    if chosen.seed is not None and chosen.temperature:
        lines.append(f"torch.manual_seed({chosen.seed}{' + number' if chosen.n > 1 else ''})")
    settings = "".join(f"        {name}={value},\n" for name, value in _generate(asked).items())
    lines += ["with torch.no_grad():", f"    ids = model.generate(\n        **inputs,\n{settings}    )[0]"]
    lines.append("text = tokenizer.decode(ids[start:], skip_special_tokens=True)")
    if free := _late(asked):
        lines.append(f"late = len(tokenizer.decode(ids[start : start + {free}], skip_special_tokens=True))")
        lines += ["for stop in stops:", "    text = text[:late] + text[late:].split(stop)[0]"]
    elif asked.stop:
        lines += ["for stop in stops:", "    text = text.split(stop)[0]"]
    lines.append("print(text.strip())")
    if chosen.n == 1:
        return lines
    return [f"for number in range({chosen.n}):", *(f"    {line}" for line in "\n".join(lines).splitlines())]


def _generate(asked: Asked) -> dict[str, str]:
    """The arguments of generate()."""
    values = asked.parameters.model_dump()
    named = {theirs: repr(values[ours]) for ours, theirs in TRANSFORMERS.items() if ours == "max_tokens" or ours in asked.given}
    named["do_sample"] = repr(values["temperature"] > 0)
    if values["temperature"] > 0:
        named |= {name: repr(values[name]) for name in SAMPLING}
    if processors := _processors(asked):
        named["logits_processor"] = f"[{', '.join(processors)}]"
    if _late(asked):
        named["stopping_criteria"] = "[Stops()]"
    elif asked.stop:
        named |= {"stop_strings": "stops", "tokenizer": "tokenizer"}
    return named | {"pad_token_id": "tokenizer.eos_token_id"}


def _processors(asked: Asked) -> list[str]:
    found = ["Penalty()"] if _penalty(asked) else []
    if asked.parameters.constraint is None:
        return found
    language, text = grammar_of(asked.parameters, gap=asked.rendered.bare)
    return [*found, f"Held(LLMatcher.grammar_from_{language}({literal(text)}))"]
