"""Number formats of ECMA-376, and what is left as it is stored because nobody can tell what it shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.readers.xlsx_formats import BUILT_IN, shown


@pytest.mark.parametrize(
    ("raw", "code", "text"),
    [
        ("1234567890123", "General", "1234567890123"),
        ("1.2345678901234568E+16", "", "12345678901234600"),
        ("1E-12", "", "1E-12"),
        ("-0.5", "", "-0.5"),
        ("1E400", "0", "1E400"),
        ("abc", "0", "abc"),
        ("-1234.5", "#,##0.00", "-1,234.50"),
        ("-5", "#,##0;(#,##0)", "(5)"),
        ("0", '0.0;-0.0;"none"', "none"),
        ("2.5", "0", "3"),
        ("0.5", "#.##", ".5"),
        ("12", "#,##0.0#", "12.0"),
        ("12.345", "#,##0.0#", "12.35"),
        ("1500000", '0.0,,"M"', "1.5M"),
        ("1234567", "0000000,000", "0,001,234,567"),
        ("12345.678", "0.00E+00", "1.23E+04"),
        ("0.00012", "0.0E+0", "1.2E-4"),
        ("5", '0" km"', "5 km"),
        ("5", r"0\ kg", "5 kg"),
        ("7", "[$€-407] 0.00", "€ 7.00"),
        ("7", "[Red]00", "07"),
        ("7", "_(00_)", " 07 "),
        ("3.5", "# ?/?", "3.5"),
        ("7", "[>5]0.0;0", "7"),
        ("45322", "yyyy-mm-dd", "2024-01-31"),
        ("45322.5", "m/d/yy h:mm", "1/31/24 12:00"),
        ("45322.75", "d.m.yyyy h AM/PM", "31.1.2024 6 PM"),
        ("45322", "dddd, mmmm d", "Wednesday, January 31"),
        ("45322", "ddd mmm mmmmm", "Wed Jan J"),
        ("45322.123456", "hh:mm:ss.000", "02:57:46.598"),
        ("0.5", "[h]:mm", "12:00"),
        ("1.5", "[h]:mm:ss", "36:00:00"),
        ("0.0007", "mm:ss", "01:00"),
        ("60", "yyyy-mm-dd", "1900-02-29"),
        ("61", "yyyy-mm-dd", "1900-03-01"),
        ("1", "yyyy-mm-dd", "1900-01-01"),
        ("-1", "yyyy-mm-dd", "-1"),
        ("3000000", "yyyy-mm-dd", "3000000"),
        ("45322", "[$-F800]dddd, mmmm dd, yyyy", "2024-01-31"),
        ("0.999999999", "hh:mm:ss", "00:00:00"),
    ],
)  # fmt: skip
def test_numbers_are_shown_as_their_format_says(raw: str, code: str, text: str) -> None:
    assert shown(raw, code) == text


def test_the_1904_calendar() -> None:
    assert shown("0", "yyyy-mm-dd", since_1904=True) == "1904-01-01"
    assert shown("2957003", "yyyy-mm-dd", since_1904=True) == "9999-12-31"
    assert shown("2957004", "yyyy-mm-dd", since_1904=True) == "2957004" and shown("2958465.99999999", "yyyy") == "2958465.99999999"


@given(
    st.floats().map(repr) | st.integers().map(str),
    st.sampled_from(sorted(set(BUILT_IN.values()))) | st.text('0#?.,%E+-/@_*"\\[]hmsdyAMP ;GeneralR$€', max_size=12),
)
def test_no_format_makes_it_fail(raw: str, code: str) -> None:
    assert isinstance(shown(raw, code), str) and isinstance(shown(raw, code, since_1904=True), str)
