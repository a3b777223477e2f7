"""Exact decimals as text: the only form in which a number of a measurement crosses a border.

The text is bounded before ``Decimal`` sees it, so that ``1e999999999`` costs nothing to refuse. All arithmetic states
its own context: the caller's decimal context never changes a result.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

from labcommons.core.errors import BareNumber, InvalidInput

__all__ = ["MAX_DIGITS", "decimal_text", "fraction_to_decimal", "parse_decimal"]

MAX_DIGITS = 60
"""Most digits that one number may carry."""
MAX_MAGNITUDE = 99
"""Largest power of ten, up or down, of the first digit."""
_ROUNDED_DIGITS = 34
_PLAIN_BELOW = 21

_NUMBER = re.compile(r"-?[0-9]{1,60}(?:\.[0-9]{1,60})?(?:[eE][+-]?[0-9]{1,3})?")
_WIDE = Context(prec=400, rounding=ROUND_HALF_EVEN)
_ROUND = Context(prec=_ROUNDED_DIGITS, rounding=ROUND_HALF_EVEN)


def parse_decimal(text: object, field: str = "") -> Decimal:
    """``text`` as an exact decimal, trailing zeros kept. Raises ``InvalidInput`` (``BareNumber`` for a JSON number).

    Taken: an optional minus, digits, an optional fraction, an optional exponent; at most 60 digits, and a first digit
    between 1e-99 and 1e99. ``NaN``, ``Infinity``, a plus sign and spaces are refused.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        raise BareNumber(
            "a number of a measurement is written as text, so that no digit is lost",
            field=field,
            remedy=f'write "{text}" in quotes',
        )
    if not isinstance(text, str) or len(text) > 130 or not _NUMBER.fullmatch(text):
        raise InvalidInput(
            f"{_shown(text)} is not a decimal number",
            code="bad_number",
            field=field,
            remedy='write an exact decimal as text, such as "12.50"; NaN and Infinity are not numbers here',
        )
    number = Decimal(text)
    if not fits(number):
        raise InvalidInput(
            f"{_shown(text)} has more digits or a larger exponent than is taken",
            code="bad_number",
            field=field,
            remedy=f"give at most {MAX_DIGITS} digits and a magnitude between 1e-{MAX_MAGNITUDE} and 1e{MAX_MAGNITUDE}",
        )
    return number


def fits(number: Decimal) -> bool:
    """Whether ``number`` is finite and within the limits of digits and magnitude."""
    if not number.is_finite():
        return False
    _, digits, exponent = number.as_tuple()
    small = isinstance(exponent, int) and abs(exponent) <= MAX_MAGNITUDE + MAX_DIGITS
    return small and len(digits) <= MAX_DIGITS and (not number or abs(number.adjusted()) <= MAX_MAGNITUDE)


def decimal_text(number: Decimal) -> str:
    """``number`` as it is written on the wire: plain digits; an exponent only where plain digits would mislead."""
    _, _, exponent = number.as_tuple()
    if isinstance(exponent, int) and exponent <= 0 and abs(number.adjusted()) < _PLAIN_BELOW:
        return format(number, "f")
    return str(number)


def fraction_to_decimal(number: Fraction, like: Decimal | None = None) -> Decimal:
    """``number`` as a decimal: exact where it has an end within 60 digits, else rounded half-even to 34 digits.

    ``like``: a number whose count of significant digits is kept by appending zeros (12.50 mm is 0.01250 m).
    """
    if not _terminates(number.denominator):
        return _ROUND.divide(Decimal(number.numerator), Decimal(number.denominator))
    exact = _WIDE.divide(Decimal(number.numerator), Decimal(number.denominator)).normalize(_WIDE)
    if len(exact.as_tuple().digits) > MAX_DIGITS:
        return _ROUND.plus(exact)
    return _with_digits(exact, like)


def _with_digits(exact: Decimal, like: Decimal | None) -> Decimal:
    _, digits, exponent = exact.as_tuple()
    wanted = len(like.as_tuple().digits) if like is not None and like else 1
    target = min(int(exponent), 0)
    if int(exponent) <= 0:
        target = int(exponent) - max(0, wanted - len(digits))
    elif int(exponent) + len(digits) > _PLAIN_BELOW:
        return exact
    return exact.quantize(Decimal((0, (1,), target)), context=_WIDE)


def _terminates(denominator: int) -> bool:
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return denominator == 1


def _shown(text: object) -> str:
    shown = repr(text)
    return shown if len(shown) <= 40 else shown[:37] + "..."
