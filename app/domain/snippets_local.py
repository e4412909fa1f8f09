"""View code without a server: transformers, peft for an adapter, llguidance for an answer that is held to a form. Pure, as snippets.py."""

from app.domain.generation import grammar_of
from app.domain.snippets import Asked, Weights, literal, text_literal

TRANSFORMERS = {"max_tokens": "max_new_tokens", "min_tokens": "min_new_tokens", "repetition_penalty": "repetition_penalty"}
SAMPLING = ("temperature", "top_p", "top_k")

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


def why_not(asked: Asked) -> str:
    """Why there is no such snippet; empty where there is one."""
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
    processors = _processors(asked)
    settings = "".join(f"    {name}={value},\n" for name, value in _generate(asked, bool(processors)).items())
    lines = [
        *_imports(asked, weights, kind),
        "",
        *_fetching(asked.address, weights),
        f"folder = {literal(weights.folder)}",
        'device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f"model = {kind}.from_pretrained(folder, dtype=dtype)",
        *adapter,
        "model = model.to(device).eval()",
        "",
        *_told(asked),
        "start = 1" if weights.encoder_decoder else 'start = inputs["input_ids"].shape[1]',
        *processors,
        *([f"torch.manual_seed({asked.parameters.seed})"] if asked.parameters.seed is not None and asked.parameters.temperature else []),
        "with torch.no_grad():",
        f"    found = model.generate(\n        **inputs,\n{_indented(settings)}    )",
        "for ids in found:",
        "    text = tokenizer.decode(ids[start:], skip_special_tokens=True)",
        *(["    for stop in stops:", "        text = text.split(stop)[0]"] if asked.stop else []),
        "    print(text.strip())",
    ]
    return "\n".join(lines) + "\n"


def _imports(asked: Asked, weights: Weights, kind: str) -> list[str]:
    held, penalty = asked.parameters.constraint is not None, _penalty(asked)
    names = [kind, "AutoTokenizer", *(["LogitsProcessor"] if held or penalty else [])]
    guided = ["import llguidance.hf", "import llguidance.numpy", "import numpy as np"] if held else []
    return [
        *guided,
        "import torch",
        *(["from llguidance import LLMatcher"] if held else []),
        *(["from peft import PeftModel"] if weights.adapter else []),
        f"from transformers import {', '.join(names)}",
    ]


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


def _penalty(asked: Asked) -> bool:
    return bool(asked.parameters.frequency_penalty or asked.parameters.presence_penalty)


def _processors(asked: Asked) -> list[str]:
    """What generate() has no word for, as programs that change the scores of the next token."""
    lines, made = list[str](), list[str]()
    if _penalty(asked):
        lines += PENALTY.format(frequency=asked.parameters.frequency_penalty, presence=asked.parameters.presence_penalty).splitlines()
        made.append("Penalty()")
    if asked.parameters.constraint:
        language, text = grammar_of(asked.parameters, gap=asked.rendered.bare)
        lines += HELD.splitlines()
        made.append(f"Held(LLMatcher.grammar_from_{language}({literal(text)}))")
    return [*lines, "", f"processors = [{', '.join(made)}]"] if made else []


def _split(asked: Asked) -> str:
    """Values are text, whatever they spell. The tokenizer can only be told so of all of a text."""
    if asked.rendered.messages:  # apply_chat_template cannot be told at all
        return ""
    return ", split_special_tokens=True" if asked.special(trusted=False) and not asked.special(trusted=True) else ""


def _indented(settings: str) -> str:
    return "".join(f"    {line}\n" for line in settings.splitlines())


def _fetching(address: str, weights: Weights) -> list[str]:
    """Where the folders come from."""
    ask = f'curl -H "Authorization: Bearer $FETTLE_TOKEN" -o model.zip {address}/api/v1/models/{{}}/download && python -m zipfile -e model.zip {{}}'
    lines = ["# The weights, once:", f"#   {ask.format(weights.folder_id, weights.folder)}"]
    return lines + ([f"#   {ask.format(weights.adapter_id, weights.adapter)}"] if weights.adapter else [])


def _generate(asked: Asked, processed: bool) -> dict[str, str]:
    """The arguments of generate()."""
    values = asked.parameters.model_dump()
    named = {theirs: repr(values[ours]) for ours, theirs in TRANSFORMERS.items() if ours == "max_tokens" or ours in asked.given}
    named["do_sample"] = repr(values["temperature"] > 0)
    if values["temperature"] > 0:
        named |= {name: repr(values[name]) for name in SAMPLING}
        named |= {"num_return_sequences": repr(values["n"])} if values["n"] > 1 and not asked.parameters.constraint else {}
    if processed:
        named["logits_processor"] = "processors"
    if asked.stop:
        named |= {"stop_strings": "stops", "tokenizer": "tokenizer"}
    return named | {"pad_token_id": "tokenizer.eos_token_id"}
