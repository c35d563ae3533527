"""Make the course ready to be published under an account, as a release.

    python tools/notebooks/publish.py --account NAME --tag v0.2.0 [--repository nst-notebooks] [--date 2027-01-31]

Writes the address and the tag into the lessons (first line and setup cell), the README's links, `CITATION.cff`,
CONTRIBUTING.md and the changelog, whose unreleased part becomes the release, and sets the version. It changes files of
the working tree and nothing else: look at `git diff`, run the gate, commit, tag and push. The next release works the
same way.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?")
TAG = re.compile(r"v(\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?)")


class PublishError(Exception):
    """What stands in the way, in one sentence."""


def publish(root: Path, repository: str, tag: str, date: str) -> list[Path]:
    """Write repository ("account/name") and tag everywhere below the root; returns the files that changed.

    Raises:
        PublishError: a tag that isn't a version, an account that can't be one, a release that is there already, or a
            file that isn't as expected; then no file has changed.
    """
    account, _, name = repository.partition("/")
    if not ACCOUNT.fullmatch(account) or not re.fullmatch(r"[\w.-]+", name):
        raise PublishError(f"{repository} can't be a repository: give an account such as ann-smith.")
    if not (found := TAG.fullmatch(tag)):
        raise PublishError(f"The tag {tag} is no release: give one such as v0.2.0.")
    version = found[1]
    setup = (root / "tools" / "notebooks" / "notebook_setup.py").read_text(encoding="utf-8")
    old = re.search(r'^REPOSITORY = "([^"]+)"$', setup, re.M)
    if not old:
        raise PublishError("notebook_setup.py has no line REPOSITORY = …: put it back.")
    changes = {
        "tools/notebooks/notebook_setup.py": [
            (r'^REPOSITORY = "[^"]+"$', f'REPOSITORY = "{repository}"'),
            (r'^TAG = "[^"]+"$', f'TAG = "{tag}"'),
        ],
        "pyproject.toml": [(r'^version = "[^"]+"$', f'version = "{version}"')],
        "nst_helpers/__init__.py": [(r'^__version__ = "[^"]+"$', f'__version__ = "{version}"')],
        "CITATION.cff": [
            (r"^version: .+$", f"version: {version}"),
            (r"^date-released: .+$", f'date-released: "{date}"'),
            (re.escape(f"https://github.com/{old[1]}"), f"https://github.com/{repository}"),
        ],
        "CONTRIBUTING.md": [(re.escape(f"https://github.com/{old[1]}"), f"https://github.com/{repository}")],
    }
    new = {root / name: _replaced(root / name, pairs) for name, pairs in changes.items()}
    new[root / "CHANGELOG.md"] = _release(root / "CHANGELOG.md", old[1], repository, version, date)
    written = []
    for path, text in new.items():
        if text != path.read_text(encoding="utf-8"):
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


def _replaced(path: Path, pairs: list[tuple[str, str]]) -> str:
    text = path.read_text(encoding="utf-8")
    for pattern, new in pairs:
        text, count = re.subn(pattern, lambda _, new=new: new, text, flags=re.M)
        if count == 0:
            raise PublishError(f"{path.name} has nothing like {pattern}: put it back.")
    return text


def _release(path: Path, old: str, repository: str, version: str, date: str) -> str:
    """The changelog with its unreleased part as this release, and links for both."""
    text = path.read_text(encoding="utf-8").replace(f"https://github.com/{old}", f"https://github.com/{repository}")
    if f"## [{version}]" in text:
        raise PublishError(f"The changelog has a release {version} already: give the next tag.")
    home = f"https://github.com/{repository}"
    text = text.replace("## [Unreleased]\n", f"## [Unreleased]\n\n## [{version}] - {date}\n", 1)
    links = f"[Unreleased]: {home}/compare/v{version}...HEAD\n[{version}]: {home}/releases/tag/v{version}"
    text, count = re.subn(r"^\[Unreleased\]: .+$", links, text, flags=re.M)
    if count != 1:
        raise PublishError("The changelog has no link [Unreleased]: at its end: put it back.")
    return text


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--account", required=True, help="the account that the course is published under")
    parser.add_argument("--tag", required=True, help="the release, such as v0.2.0")
    parser.add_argument("--repository", default="nst-notebooks", help="the repository's name (default: %(default)s)")
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="of the release (default: today)")
    options = parser.parse_args(arguments)
    try:
        written = publish(ROOT, f"{options.account}/{options.repository}", options.tag, options.date)
    except PublishError as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    print(*(path.relative_to(ROOT) for path in written), sep="\n")
    import notebook_setup
    import run_notebooks

    for module in (notebook_setup, run_notebooks):  # the constants are new
        importlib.reload(module)
    return run_notebooks.main(["--setup"])


if __name__ == "__main__":
    sys.exit(main())
