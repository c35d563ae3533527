"""How long and how large an answer may be in the tests. A module of its own: pytest alone may import its plugins."""

from conftest import slow

from nst_helpers.classroom.box.server import Limits

LIMITS = Limits(seconds=2 * slow(), memory=1.5, total=300 * slow())
