"""Selection: an expression of words, `and`, `or`, `not` and parentheses that selects checks by name."""

from collections.abc import Callable

from pyparsing import OpAssoc, ParseException, Regex, infix_notation

Selection = Callable[[str], bool]
"""Whether a name is selected."""


def read_selection(expression: str) -> Selection:
    """The selection that an expression describes: a word selects the names that contain it, ignoring case.

    Raises:
        ValueError: the expression is wrong; the message says where.
    """
    end = r"(?![^\s()])"  # anything but spaces and parentheses is part of a word, as in `torch.optim:AdamW-M02`
    word = Regex(rf"(?!(?:and|or|not){end})[^\s()]+").set_name("a word")
    word.set_parse_action(lambda found: _containing(found[0].lower()))
    operators = [
        (Regex("not" + end), 1, OpAssoc.RIGHT, lambda found: _negated(found[0][1])),
        (Regex("and" + end), 2, OpAssoc.LEFT, lambda found: _combined(all, found[0][::2])),
        (Regex("or" + end), 2, OpAssoc.LEFT, lambda found: _combined(any, found[0][::2])),
    ]
    try:
        grammar = infix_notation(word, operators)  # type: ignore[no-untyped-call]
        selection: Selection = grammar.parse_string(expression, parse_all=True)[0]
    except ParseException as error:
        raise ValueError(f"{error.msg} at column {error.column}: {error.mark_input_line('<here>')}") from error
    return selection


def _containing(word: str) -> Selection:
    return lambda name: word in name.lower()


def _negated(selection: Selection) -> Selection:
    return lambda name: not selection(name)


def _combined(quantifier: Callable[[list[bool]], bool], selections: list[Selection]) -> Selection:
    return lambda name: quantifier([selection(name) for selection in selections])
