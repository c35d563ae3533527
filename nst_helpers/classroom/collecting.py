"""Finding the hand-ins: a folder for each student, files named by student, or the archive that an LMS gives."""

from __future__ import annotations

import csv
import datetime
import io
import re
import tarfile
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from .questions import LESSONS, ClassroomError
from .reading import clean_text, slim

__all__ = ["HandIn", "collect", "is_notebook", "missing", "read_roster"]

_LARGEST = 256 * 2**20  # of one file
_JUNK = re.compile(
    r"(^|/)(__MACOSX|\.ipynb_checkpoints|\.DS_Store|\.git|timestamp\.txt)(/|$)|(^|/)(\._|~\$)|^index\.html$"
)
_MOODLE = re.compile(r"^(?P<student>.+?)_(?P<number>\d+)_assignsubmission_[a-z]*?_?(?P<rest>[^_].*)?$")
_CANVAS = re.compile(r"^(?P<student>[^_]+)(?:_LATE)?_(?P<number>\d+)_\d+_(?P<rest>.+)$")
_BLACKBOARD = re.compile(r"^.+_(?P<student>[^_]+)_attempt_(?P<when>\d{4}(?:-\d\d){5})(?:_(?P<rest>.+)|\.txt)$")
_BRIGHTSPACE = re.compile(
    r"^\d+-\d+ ?- ?(?P<student>.+?) ?- ?(?P<when>\w+ \d{1,2}, \d{4} \d{3,4} [AP]M)(?: ?- ?(?P<rest>.+))?$"
)
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_ENDING = re.compile(r"(\.(ipynb|json|txt|zip|tar|gz|tgz))+$", re.I)


@dataclass
class HandIn:
    """What one student handed in: files by name with their contents and times, and what has to be said about them."""

    student: str
    files: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def is_notebook(name: str) -> bool:
    """Whether a file may be a notebook, by its name: .ipynb, .json, or .ipynb with .txt behind it."""
    return re.search(r"\.ipynb\b|\.json$", name, re.I) is not None


def collect(place: Path) -> tuple[list[HandIn], list[str]]:
    """The hand-ins of a folder or an archive, by student, and a sentence for each file that is nobody's.

    Raises ClassroomError where there is nothing.
    """
    place = Path(place)
    if not place.exists():
        raise ClassroomError(f"There is nothing at {place}: name the folder or the archive with the hand-ins.")
    notes: list[str] = []
    found: dict[tuple[str, str], HandIn] = {}
    for path, content, when in sorted(_walk(place, notes), key=lambda entry: entry[0]):
        student, number, rest, moment = _whose(path)
        if not student or student.strip(". ") == "":
            notes.append(f"{path}: whose is it? Put it into a folder with the student's name, or the name before it.")
            continue
        hand_in = found.setdefault((student, number), HandIn(student))
        if rest and content is None:
            hand_in.notes.append(f"{rest}: larger than {_LARGEST >> 20} MB, so it was not read.")
        elif rest:
            _add(hand_in, rest, content or b"", moment or when)
    names = defaultdict(set)
    for student, number in found:
        names[student].add(number)
    for (student, number), hand_in in found.items():
        if len(names[student]) > 1:
            hand_in.student = f"{student} {number}".strip()
    if not found:
        raise ClassroomError(f"There are no hand-ins in {place}: folders or files named by student were expected.")
    return sorted(found.values(), key=lambda h: h.student.lower()), notes


def read_roster(path: Path) -> list[tuple[str, set[str]]]:
    """The students of a CSV file, or of a list with one a line: what each is called, and all that may stand for them.

    A student is called by the first column whose heading says id, user, login, student or name, else by the first.
    Raises ClassroomError.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ClassroomError(f"The roster {path} can't be read ({type(error).__name__}).") from None
    rows = [row for row in csv.reader(text.splitlines(), delimiter=_delimiter(text)) if any(map(str.strip, row))]
    headings = [cell.strip().lower() for cell in rows[0]] if rows else []
    words = ("id", "user", "login", "student", "name", "mail")
    titled = len(rows) > 1 and any(any(word in heading for word in words) for heading in headings)
    ranks = [next((i for i, word in enumerate(words) if word in heading), 9) for heading in headings]
    column = ranks.index(min(ranks)) if titled else 0
    names = {h: i for i, h in enumerate(headings)} if titled else {}
    students = []
    for row in rows[1:] if titled else rows:
        cells = [clean_text(cell.strip()) for cell in row]
        called = cells[column] if column < len(cells) and cells[column] else next(filter(None, cells))
        aliases = {cell for cell in cells if cell} | {cell.partition("@")[0] for cell in cells if "@" in cell}
        parts = [cells[names[h]] for h in ("first name", "last name") if names.get(h, len(cells)) < len(cells)]
        aliases |= {" ".join(parts)} if len(parts) == 2 else set()
        students.append((called, {_plain(alias) for alias in aliases}))
    if not students:
        raise ClassroomError(f"The roster {path} names nobody: a line for each student was expected.")
    return students


def missing(roster: Sequence[tuple[str, set[str]]], handed_in: Sequence[str]) -> tuple[list[str], list[str]]:
    """Who is on the roster and has handed in nothing, and who has handed in and is not on the roster."""
    came = {_plain(student): student for student in handed_in}
    absent = [called for called, aliases in roster if not aliases & came.keys()]
    known = set().union(*(aliases for _, aliases in roster))
    return absent, [student for plain, student in came.items() if plain not in known]


def _delimiter(text: str) -> str:
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().replace("_", " ").split())


def _walk(place: Path, notes: list[str]) -> Iterator[tuple[str, bytes | None, float]]:
    """Path, content (None where it is too large) and time of each file."""
    if place.is_file():
        if not place.name.lower().endswith(_ARCHIVES):
            raise ClassroomError(f"{place} is neither a folder nor a zip or tar archive.")
        entries = list(_unpack(place, place.name, notes))
        parts = [PurePosixPath(path).parts for path, *_ in entries]
        # An archive of one folder that holds all the students', unless that one is a student's own.
        wrapped = parts and len({p[0] for p in parts}) == 1 and all(len(p) > 2 for p in parts)
        if wrapped and (len({p[1] for p in parts}) > 1 or place.name.startswith(parts[0][0])):
            entries = [(str(PurePosixPath(*PurePosixPath(path).parts[1:])), data, when) for path, data, when in entries]
        yield from entries
        return
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        try:
            if _JUNK.search(name) or path.is_symlink() or not path.is_file():
                continue
            size, when = path.stat().st_size, path.stat().st_mtime
            yield _readable(name), None if size > _LARGEST else _slim(name, path.read_bytes()), when
        except OSError as error:
            notes.append(f"{_readable(name)}: it can't be read ({error.strerror}).")


def _readable(name: str) -> str:
    """A path that was not written in UTF-8, in letters all the same; and accents in one piece, as everywhere else."""
    return unicodedata.normalize("NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _slim(name: str, content: bytes) -> bytes:
    return slim(content) if is_notebook(name) and len(content) > 2**20 else content


def _unpack(source: Path | bytes, name: str, notes: list[str]) -> Iterator[tuple[str, bytes | None, float]]:
    """The files of an archive, in memory; nothing is written, so no path in it can lead anywhere."""
    file = source if isinstance(source, Path) else io.BytesIO(source)
    try:
        if name.lower().endswith(".zip"):
            with zipfile.ZipFile(file) as packed:
                for entry in packed.infolist():
                    if entry.is_dir() or _JUNK.search(entry.filename):
                        continue
                    inside = _readable(clean_text(entry.filename))
                    large = entry.file_size > _LARGEST
                    # A zip keeps its times as (year, month, ...), good enough to tell the newer of two.
                    yield inside, None if large else _slim(inside, packed.read(entry)), _seconds(entry.date_time)
        else:
            with tarfile.open(file) if isinstance(file, Path) else tarfile.open(fileobj=file) as packed:
                for member in packed:
                    if not member.isfile() or _JUNK.search(member.name):
                        continue
                    inside = _readable(member.name.removeprefix("./"))
                    large = member.size > _LARGEST
                    content = None if large else packed.extractfile(member)
                    yield inside, _slim(inside, content.read()) if content else None, float(member.mtime)
    except (zipfile.BadZipFile, tarfile.TarError, RuntimeError, EOFError, OSError, ValueError, zlib.error) as error:
        notes.append(f"{name}: a broken archive that can't be opened ({type(error).__name__}).")


def _seconds(moment: tuple[int, ...]) -> float:
    year, month, day, hour, minute, second = moment
    return ((((year * 12 + month) * 31 + day) * 24 + hour) * 60 + minute) * 60.0 + second


def _whose(path: str) -> tuple[str, str, str, float]:
    """The student, the LMS's number where there is one, the file's own name, and the time that the name tells."""
    first, *rest = PurePosixPath(path).parts
    below = "/".join(rest)
    if blackboard := _BLACKBOARD.match(first):
        return blackboard["student"], "", blackboard["rest"] or "", _moment(blackboard["when"], "%Y-%m-%d-%H-%M-%S")
    if brightspace := _BRIGHTSPACE.match(first):
        moment = _moment(_four_digits(brightspace["when"]), "%b %d, %Y %I%M %p")
        return brightspace["student"].strip(), "", below or brightspace["rest"] or "", moment
    if moodle := _MOODLE.match(first):
        return moodle["student"].strip(), moodle["number"], below or moodle["rest"] or "", 0
    if rest:
        return first.strip(), "", below, 0
    if canvas := _CANVAS.match(first):
        return canvas["student"], canvas["number"], canvas["rest"], 0
    stem = _ENDING.sub("", re.sub(r"\s*\(\d+\)(?=\.|$)", "", first))
    for name in LESSONS.values():
        stem = re.sub(rf"[ _\-+]*(copy of )?[ _\-+]*{name}[ _\-+]*(\(\d+\)|copy\d*)?", " ", stem, flags=re.I)
    return _unwrapped(stem.strip(" _-+")), "", first, 0


def _moment(text: str, form: str) -> float:
    try:
        return datetime.datetime.strptime(text, form).timestamp()
    except ValueError:
        return 0.0


def _four_digits(when: str) -> str:
    """Brightspace writes the month's name in full or in three letters, and 9:05 as 905."""
    month, day, year, clock, half = when.split()
    return f"{month[:3]} {day} {year} {clock.zfill(4)} {half}"


def _unwrapped(name: str) -> str:
    whole = re.fullmatch(r"\(([^()]+)\)", name)
    return whole[1].strip() if whole else name


def _add(hand_in: HandIn, name: str, content: bytes, when: float) -> None:
    if not name.lower().endswith(_ARCHIVES):
        hand_in.files[name] = (content, when)
        return
    notes = len(hand_in.notes)
    inner = list(_unpack(content, name, hand_in.notes))
    for path, data, moment in inner:
        if data is None:
            hand_in.notes.append(f"{name}/{path}: larger than {_LARGEST >> 20} MB, so it was not read.")
        else:
            hand_in.files[f"{name}/{path}"] = (data, moment)
    if not inner and len(hand_in.notes) == notes:
        hand_in.notes.append(f"{name}: an empty archive.")
