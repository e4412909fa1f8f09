"""Personal data and secrets in a text: e-mail addresses, phone, card and account numbers, keys. Pure.

A million rows are looked through while somebody waits: what a text must hold is looked for before its pattern is, and most texts hold none of it. Numbers
that carry a check digit count when it is right: an order number is none.
"""

import re

from app.readers import Example

_EMAIL = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}\.[\w.]{2,63}\b")
_PHONE = re.compile(r"(?<![\w+])\+[1-9](?:[ ()./-]{0,3}\d){8,14}(?!\d)")
"""In international form. Other numbers could be anything."""

_KEY = re.compile(
    r"\b(?:[srp]k[-_](?=[\w-]*\d)[\w-]{16,}|gh[opsru]_\w{16,}|github_pat_\w{20,}|xox[abeprs]-[\w-]{16,}|A[KS]IA[0-9A-Z]{16}\b)"
    r"|-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
)

_LONG = re.compile(r"\d[\dA-Z -]{11}")
"""The numbers below have it. Nearly no text has."""

_CARD = re.compile(
    r"(?<!\d)(?<!\d[., -])(?:[2-6]\d{12,18}|[2-6]\d{3}(?P<gap>[ -])(?:\d{6}(?P=gap)\d{4,5}|\d{4}(?P=gap)\d{4}(?P=gap)\d{4}(?P<rest>(?P=gap)\d{1,3})?))(?!\d)"
)
"""As a card shows it, or without gaps; what follows it, such as a year, may look like its end."""

_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[A-Z0-9]{11,30}|(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?)\b")


def has_personal_data(example: Example) -> bool:
    """Whether a row seems to hold any, in whichever column."""
    return is_personal(example.input) or bool(example.output and is_personal(example.output)) or any(map(is_personal, example.cells.values()))


def is_personal(text: str) -> bool:
    """Whether a text seems to hold any."""
    return bool(
        ("@" in text and _EMAIL.search(text))
        or (("k-" in text or "_" in text or "xox" in text or "IA" in text or "-----" in text) and _KEY.search(text))
        or ("+" in text and _PHONE.search(text))
        or (_LONG.search(text) and (any(map(_is_card, _CARD.finditer(text))) or any(map(_is_account, _IBAN.finditer(text)))))
    )


def _is_card(found: "re.Match[str]") -> bool:
    return any(_luhn([int(one) for one in text if one.isdigit()]) for text in {found[0], found[0].removesuffix(found["rest"] or "")})


def _luhn(digits: list[int]) -> bool:
    """ISO/IEC 7812-1: every second digit from the right is doubled, and the digits of all add up to tens."""
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return len(set(digits)) > 1 and (sum(digits[-1::-2]) + doubled) % 10 == 0


def _is_account(found: "re.Match[str]") -> bool:
    """ISO 13616: the first four characters put last and letters as numbers from 10, the rest of division by 97 is 1."""
    texts = {found[0], found[0].rpartition(" ")[0]}
    return any(len(one) >= 15 and int("".join(str(int(sign, 36)) for sign in one[4:] + one[:4])) % 97 == 1 for one in (text.replace(" ", "") for text in texts))
