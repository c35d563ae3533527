"""A seed and a pair of pictures for each student, derived from the student's id, so that numbers can't be copied."""

from __future__ import annotations

import hashlib

from ..samples import list_samples

__all__ = ["COMMON", "values"]

COMMON = (0, "temple", "wave")  # for a course without --personal


def values(student: str) -> tuple[int, str, str]:
    """The seed, the content and the style of a student, always the same for the same id.

    Capitals and spaces around the id make no difference.

    >>> values("ann") == values(" Ann ") != values("bob")
    True
    """
    digest = hashlib.sha256(student.strip().lower().encode()).digest()
    contents, styles = list_samples("content"), list_samples("style")
    seed = int.from_bytes(digest[:4], "big") % 1_000_000
    return seed, contents[digest[4] % len(contents)], styles[digest[5] % len(styles)]
