"""How many tokens are reckoned of real text where nobody has the tokenizer of a model, beside what the starter model's counts: `python -m bench.reckoned`.

A prompt is cut, or refused, by the reckoned number: it should seldom be too small, and not much too large. Of each data set up to 2,000 train rows.
"""

import argparse
import os
from itertools import islice

from app.remote.ruler import reckoned
from bench.data import MODEL, TASKS, prepare_model, records

ROWS = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.reckoned", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    chosen = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    prepare_model()
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    print(f"{'data':<12} {'rows':>6} {'counted':>9} {'reckoned':>9} {'ratio':>6}  rows reckoned too small, and by how much at most")
    for name in TASKS:
        texts = [values["input"] for values, _ in islice(records(name, "train"), chosen.rows)]
        pairs = [(len(one.ids), reckoned(text)) for one, text in zip(tokenizer.encode_batch_fast(texts, add_special_tokens=False), texts, strict=True)]
        counted, said = (sum(pair[at] for pair in pairs) for at in (0, 1))
        small = [real - guess for real, guess in pairs if guess < real]
        print(f"{name:<12} {len(pairs):>6,} {counted:>9,} {said:>9,} {said / counted:>6.2f}  {len(small) / len(pairs):.1%}, {max(small, default=0)} tokens")


if __name__ == "__main__":
    main()
