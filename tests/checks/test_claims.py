"""Claims: what holds prints both numbers, what doesn't raises with them, and nothing in between."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import nst_helpers as nst
from nst_helpers.checks.claims import RELATIONS, ClaimError, claim

numbers = st.floats(-1e6, 1e6, allow_nan=False)


@given(numbers, st.sampled_from(list(RELATIONS)), numbers)
def test_a_claim_holds_where_python_says_so(left, relation, right):
    if eval(f"{left!r} {relation} {right!r}"):
        claim("it is so", left, relation, right)
    else:
        with pytest.raises(ClaimError, match="it is so"):
            claim("it is so", left, relation, right)


@pytest.mark.parametrize(
    ("left", "relation", "right", "by", "holds"),
    [
        (2.0, ">", 1.0, 2.0, True),
        (2.0, ">", 1.0, 2.1, False),
        (1.0, "<", 2.0, 2.0, True),
        (1.0, "<=", 1.9, 2.0, False),
        (1.009, "about", 1.0, None, True),
        (1.011, "about", 1.0, None, False),
        (0.0, "about", 0.0, None, True),
        (1e-9, "about", 0.0, 0.5, False),
        (float("nan"), ">", 1.0, None, False),
        (float("nan"), "about", 1.0, None, False),
    ],
)
def test_by_asks_for_a_factor_or_allows_a_share(left, relation, right, by, holds, capsys):
    if holds:
        claim("so", left, relation, right, by=by)
        assert capsys.readouterr().out.startswith("✓ so [")
    else:
        with pytest.raises(ClaimError, match=r"^✗ so \["):
            claim("so", left, relation, right, by=by)
        assert capsys.readouterr().out == ""


def test_a_number_that_is_being_optimised_is_no_reason_to_warn(capsys):
    nst.claim("halfway", torch.tensor(0.5, requires_grad=True), "about", 0.5)
    assert capsys.readouterr().out == "✓ halfway [0.5 ≈ 0.5, 0 % apart]\n"


def test_one_line_with_both_numbers_from_tensors_too(capsys):
    nst.claim("less noise", torch.tensor(0.25), "<", torch.tensor([0.5]), by=1.5)
    assert capsys.readouterr().out == "✓ less noise [0.25 < 0.5, 2 times]\n"


@pytest.mark.parametrize(("relation", "by"), [("!=", None), ("==", 2.0), ("<", 0.5)])
def test_what_makes_no_sense_is_refused(relation, by):
    with pytest.raises(ValueError, match=r"unknown|factor of 1"):
        claim("so", 1, relation, 2, by=by)
