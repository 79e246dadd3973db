"""Which verdict is that of the whole."""

import itertools

import pytest
from rich.text import Text

from whydeep.comparison import SEVERITY, coloured
from whydeep.comparison._verdicts import worst_verdict


@pytest.mark.parametrize(
    "several", list(itertools.product((*SEVERITY, "reported"), repeat=3)), ids=", ".join
)
def test_one_bad_row_is_enough_and_the_order_does_not_matter(several):
    if "disagrees" in several:
        expected = "disagrees"
    elif "not resolved" in several:
        expected = "not resolved"
    else:
        expected = "agrees"
    assert worst_verdict(several) == expected


def test_every_verdict_has_a_colour_of_its_own_and_is_shown_as_it_is():
    shown = [Text.from_markup(coloured(verdict)) for verdict in (*SEVERITY, "reported")]
    assert [text.plain for text in shown] == [*SEVERITY, "reported"]
    assert len({str(text.spans[0].style) for text in shown}) == 4
