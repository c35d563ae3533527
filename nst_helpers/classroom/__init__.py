"""The classroom kit: build the graded assignment from the lessons, and mark what comes back.

`python -m nst_helpers.classroom build DIR` and `... mark DIR SUBMISSIONS`; docs/teaching.md is its guide.
It needs nbgrader: `uv run --group classroom` in a clone, or `pip install "nst-helpers[classroom]"`. Nothing here is
loaded by `import nst_helpers`.
"""
