"""Numbers and dates of a sheet as text, the way the sheet shows them.

Number formats are those of ECMA-376 part 1, 18.8.30 and 18.8.31. What depends on where the reader of a workbook lives (the short
date, for one) is written as ISO 8601. A format that is not understood leaves the number as it is stored, never wrong.
"""

import re
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from functools import lru_cache

BUILT_IN = {
    1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 5: '"$"#,##0;-"$"#,##0', 6: '"$"#,##0;-"$"#,##0', 7: '"$"#,##0.00;-"$"#,##0.00',
    8: '"$"#,##0.00;-"$"#,##0.00', 9: "0%", 10: "0.00%", 11: "0.00E+00", 14: "yyyy-mm-dd", 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy",
    18: "h:mm AM/PM", 19: "h:mm:ss AM/PM", 20: "h:mm", 21: "h:mm:ss", 22: "yyyy-mm-dd hh:mm", 37: "#,##0;(#,##0)", 38: "#,##0;(#,##0)",
    39: "#,##0.00;(#,##0.00)", 40: "#,##0.00;(#,##0.00)", 45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0", 48: "0.0E+0", 49: "@",
    **dict.fromkeys((27, 28, 29, 30, 31, 34, 35, 36, 50, 51, 52, 53, 54, 57, 58), "yyyy-mm-dd"), **dict.fromkeys((32, 33, 55, 56), "hh:mm:ss"),
}  # fmt: skip

_SYSTEM_DATE = re.compile(r"\[\$-F800\]|^\[\$-[0-9A-Fa-f]+\]m/d/yy(?:yy)?$", re.IGNORECASE)
_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"|\\(?P<escaped>.)|_(?P<space>.)|\*.|\[\$(?P<currency>[^\]-]*)[^\]]*\]|\[(?P<elapsed>h+|m+|s+)\]|\[[^\]]*\]'
    r"|(?P<clock>AM/PM|A/P)|(?P<date>y+|m+|d+|h+|s+)|(?P<general>General)|(?P<exponent>E[+-]0+)|(?P<mark>[0#?.,%@/])|(?P<literal>.)",
    re.IGNORECASE,
)
_CONDITION = re.compile(r"\[[<>=]")
_MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]

Token = tuple[str, str]


def shown(raw: str, code: str, since_1904: bool = False) -> str:
    """A stored number as the format shows it; as it is stored where the format is not understood."""
    try:
        value = Decimal(raw)
        number = float(raw)
    except (ArithmeticError, ValueError):
        return raw
    if not abs(number) < 1e300:
        return raw
    sections, positions = _sections(code), (value < 0, value == 0)
    if not sections or _CONDITION.search(code):
        return general(raw)
    index = 1 if positions[0] and len(sections) > 1 else 2 if positions[1] and len(sections) > 2 else 0
    tokens = sections[index]
    if any(kind in ("date", "clock", "elapsed") for kind, _ in tokens):
        return _date(number, tokens, since_1904) or general(raw)
    with localcontext(Context(prec=400)):
        text = _number(abs(value), tokens)
    if text is None:
        return general(raw)
    return "-" + text if positions[0] and index == 0 else text


def general(raw: str) -> str:
    """A number as it is stored, with the 15 digits that a spreadsheet keeps, in full where that is not absurd."""
    number = float(raw)
    value = Decimal(format(number, ".15g"))
    if value == value.to_integral_value() and abs(number) < 1e21:
        return str(int(value))
    return format(value, "f") if 1e-9 <= abs(number) < 1e21 else format(value.normalize(), "E")


@lru_cache(maxsize=256)
def _sections(code: str) -> tuple[tuple[Token, ...], ...]:
    """The parts of a format for positive, negative and zero; none for a format that shows a number as it is."""
    code = "yyyy-mm-dd" if _SYSTEM_DATE.search(code) else "hh:mm:ss" if "[$-F400]" in code.upper() else code
    parts: list[list[Token]] = [[]]
    for match in _TOKEN.finditer(code):
        kind, text = match.lastgroup or "", match.group(match.lastgroup) if match.lastgroup else ""
        if kind == "literal" and text == ";":
            parts.append([])
        elif kind == "space":
            parts[-1].append(("literal", " "))
        elif kind in ("quoted", "escaped", "currency"):
            parts[-1].append(("literal", text))
        elif kind:
            parts[-1].append((kind, text))
    plain = all((kind in ("general", "literal") and not text.strip("@")) or text.casefold() == "general" or text == "@" for kind, text in parts[0])
    return () if plain else tuple(tuple(part) for part in parts[:3])


def _number(value: Decimal, tokens: tuple[Token, ...]) -> str | None:
    """A number that is not negative. None for a format that is not understood: fractions, text, exponents beside other things."""
    marks = "".join(text for kind, text in tokens if kind == "mark")
    if "/" in marks or "@" in marks or any(kind == "general" for kind, _ in tokens):
        return None
    exponents = [text for kind, text in tokens if kind == "exponent"]
    value *= 100 ** marks.count("%")
    places = marks.partition(".")[2]
    if exponents:
        return _scientific(value, marks, exponents[0]) if all(kind in ("mark", "exponent") for kind, _ in tokens) else None
    whole = marks.partition(".")[0].rstrip("%")
    digits_at_end = len(marks.rstrip("%")) - len(marks.rstrip("%").rstrip(","))
    value /= 1000**digits_at_end
    decimals = sum(places.count(mark) for mark in "0#?")
    fixed = format(value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP), "f")
    integer, _, fraction = fixed.partition(".")
    return _laid_out(integer.lstrip("0"), fraction, tokens, "," in whole.strip(","))


def _laid_out(integer: str, fraction: str, tokens: tuple[Token, ...], grouped: bool) -> str:
    """Digits put into the places of a format, from the point to both sides; what does not fit goes before the first place."""
    point = next((at for at, token in enumerate(tokens) if token == ("mark", ".")), len(tokens))
    places = [at for at, (kind, text) in enumerate(tokens[:point]) if kind == "mark" and text in "0#?"]
    left: list[str] = []
    for at in range(point - 1, -1, -1):
        kind, text = tokens[at]
        if at in places:
            last = at == places[0]
            taken, integer = (integer, "") if last else (integer[-1:], integer[:-1])
            left.append((taken or {"0": "0", "?": " "}.get(text, ""))[::-1])
        elif kind == "literal" or text == "%":
            left.append(text[::-1])
    whole = "".join(left)[::-1]
    if grouped:
        whole = re.sub(r"(?<=\d)(?=(?:\d{3})+(?!\d))", ",", whole)
    return whole + _fraction(fraction, tokens[point:])


def _fraction(digits: str, tokens: tuple[Token, ...]) -> str:
    marks = [text for kind, text in tokens if kind == "mark" and text in "0#?"]
    needed = len(digits)
    while needed and digits[needed - 1] == "0" and marks[needed - 1] in "#?":
        needed -= 1
    right, at = [], 0
    for kind, text in tokens:
        if kind == "mark" and text in "0#?":
            right.append(digits[at] if at < needed else " " if text == "?" else "")
            at += 1
        elif kind == "literal" or text in ".%":
            right.append(text)
    return "".join(right)


def _scientific(value: Decimal, marks: str, exponent: str) -> str | None:
    whole, _, places = marks.partition(".")
    if len(whole) != 1:
        return None
    mantissa, _, power = format(value, f".{len(places)}E").partition("E")
    sign = "-" if power.startswith("-") else "+" if exponent[1] == "+" else ""
    return f"{mantissa}E{sign}{power.lstrip('+-').zfill(len(exponent) - 2)}"


def _date(serial: float, tokens: tuple[Token, ...], since_1904: bool) -> str | None:
    """A date or time; None for what no calendar has. Day 60 of the 1900 calendar, which never was, is 29 February as in the sheet."""
    if serial < 0 or serial > 2_958_465.99999999:
        return None
    decimals = _fraction_of_seconds(tokens)
    seconds = round(serial * 86_400, decimals)
    leap = not since_1904 and int(seconds // 86_400) == 60
    start = datetime(1904, 1, 1) if since_1904 else datetime(1899, 12, 31) if seconds < 60 * 86_400 else datetime(1899, 12, 30)  # noqa: DTZ001
    try:
        moment = start + timedelta(seconds=seconds - (86_400 if leap else 0))
    except OverflowError:  # a second before the year 10000 may round up to it, and the calendar from 1904 reaches it earlier
        return None
    afternoon = any(kind == "clock" for kind, _ in tokens)
    written, last = [], ""
    for at, (kind, text) in enumerate(tokens):
        token = text.lower()
        if kind == "date" and token[0] == "m" and len(token) < 3:
            following = next((later.lower() for what, later in tokens[at + 1 :] if what in ("date", "elapsed")), "")
            token = ("i" * len(token)) if last in ("h", "[h]") or following.startswith("s") else token
        if kind in ("date", "elapsed"):
            last = token[0] if kind == "date" else f"[{token[0]}]"
            written.append(_elapsed(seconds, token) if kind == "elapsed" else "29" if leap and token in ("d", "dd") else _piece(moment, token, afternoon))
        elif kind == "clock":
            half = "PM" if moment.hour >= 12 else "AM"
            written.append(half if len(text) > 3 else half[0])
        elif kind == "literal" or text in (",", "/"):
            written.append(text)
        elif text == ".":
            written.append(f"{moment.microsecond / 1e6:.{decimals}f}"[1:] if tokens[at + 1 : at + 2] == (("mark", "0"),) else text)
    return "".join(written)


def _fraction_of_seconds(tokens: tuple[Token, ...]) -> int:
    """How many zeros stand behind a point that zeros follow."""
    places = "".join(text if kind == "mark" else " " for kind, text in tokens)
    found = re.search(r"\.(0+)", places)
    return min(6, len(found[1])) if found else 0


def _elapsed(seconds: float, token: str) -> str:
    return str(int(seconds // {"h": 3600, "m": 60, "s": 1}[token[0]])).zfill(len(token))


def _piece(moment: datetime, token: str, afternoon: bool) -> str:
    hour = (moment.hour % 12 or 12) if afternoon else moment.hour
    values = {"d": moment.day, "h": hour, "i": moment.minute, "m": moment.month, "s": moment.second}
    if token[0] == "y":
        return f"{moment.year:04d}" if len(token) > 2 else f"{moment.year % 100:02d}"
    if len(token) > 2 and token[0] in "md":
        name = _MONTHS[moment.month - 1] if token[0] == "m" else _DAYS[moment.weekday()]
        return name[:3] if len(token) == 3 else name[0] if len(token) == 5 else name
    return str(values[token[0]]).zfill(min(len(token), 2))
