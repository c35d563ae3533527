"""Answers as students write them: wrong ones are found and named, and right ones pass, however odd they look."""

from __future__ import annotations

import pkgutil
import re
from importlib import import_module

import mutants
import pytest
import student_answers
import torch
from student_answers import judged, load

from nst_helpers import checks
from nst_helpers.checks import mistakes


@pytest.mark.slow
def test_the_table_of_answers():
    """`python -m pytest tests/checks -k table -s` prints it, and each answer whose mistake isn't named."""
    found = judged()
    print(student_answers.table(found))
    wrong = [one for one in found if not one.answer.right]
    for one in wrong:
        if not one.named:
            print(f"{one.answer}: {one.verdict}")
    assert [str(one.answer) for one in wrong if one.verdict] == []
    assert [f"{one.answer}: {one.verdict}" for one in found if one.answer.right and not one.verdict] == []
    assert sum(one.named for one in wrong) >= 0.95 * len(wrong)


@pytest.mark.slow  # the compiler alone takes seconds to load
def test_a_compiled_answer_is_right_and_quiet(capfd):
    gram_matrix = torch.compile(lambda x: x.flatten(2) @ x.flatten(2).mT / x[0, 0].numel(), backend="eager")
    assert checks.check_gram_matrix(gram_matrix)
    assert capfd.readouterr() == ("", "")


def test_there_are_many_answers_of_each_kind():
    wrong, right = ([a for a in load() if a.right is kind] for kind in (False, True))
    assert len(wrong) >= 200
    assert len(right) >= 60
    assert len({a.exercise for a in right} & {a.exercise for a in wrong}) == 20


@pytest.mark.slow
def test_sentences_do_not_contradict_themselves():
    for one in judged():
        told = one.verdict.sentence
        assert "is 1 times" not in told, one
        assert "no size or value" not in told, one
        numbers = re.search(r"gives (\S+)(?: at \[[^]]*\])? where (\S+) is right", told)
        assert not numbers or numbers[1] != numbers[2], one
        assert told.endswith("."), one
        assert len(told) < 350, one


@pytest.mark.slow
def test_only_what_is_written_in_is_called_written_in():
    told = {str(one.answer): one.verdict.sentence for one in judged() if "written in" in one.verdict.sentence}
    fixed = ("fixed", "first call", "five", "of its own", "same names", "known", "known answers")
    assert [name for name in told if not any(word in name for word in fixed)] == []


@pytest.mark.slow
def test_every_mistake_in_the_tables_has_a_mutant():
    from nst_helpers.checks.known import ExerciseSpec

    tables = [import_module(f"{mistakes.__name__}.{info.name}") for info in pkgutil.iter_modules(mistakes.__path__)]
    specs = {id(v): v for table in tables for v in vars(table).values() if isinstance(v, ExerciseSpec)}
    named = {mistake.code for spec in specs.values() for mistake in spec.mistakes}
    assert len(specs) == 19  # seventeen functions and two layers
    found = {mistake for _, mistake, _ in mutants.WRONG} | student_answers.codes()
    assert named - found == set()
