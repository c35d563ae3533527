"""Finding the hand-ins: a folder for each student, files named by student, or the archive that an LMS gives."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from .questions import LESSONS, ClassroomError

__all__ = ["HandIn", "collect"]

_LARGEST = 20 * 2**20  # of one file
_JUNK = re.compile(r"(^|/)(__MACOSX|\.ipynb_checkpoints|\.DS_Store|\.git|timestamp\.txt)(/|$)|(^|/)\._")
_MOODLE = re.compile(r"^(?P<student>.+?)_(?P<number>\d+)_assignsubmission_\w*?_?$")
_CANVAS = re.compile(r"^(?P<student>[^_]+)(?:_LATE)?_(?P<number>\d+)_\d+_(?P<rest>.+)$")
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


@dataclass
class HandIn:
    """What one student handed in: files by name with their contents and times, and what has to be said about them."""

    student: str
    files: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


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
        student, number, rest = _whose(path)
        if not student:
            notes.append(f"{path}: whose is it? Put it into a folder with the student's name, or the name before it.")
            continue
        hand_in = found.setdefault((student, number), HandIn(student))
        _add(hand_in, rest, content, when)
    names = defaultdict(set)
    for student, number in found:
        names[student].add(number)
    for (student, number), hand_in in found.items():
        if len(names[student]) > 1:
            hand_in.student = f"{student} {number}".strip()
    if not found:
        raise ClassroomError(f"There are no hand-ins in {place}: folders or files named by student were expected.")
    return sorted(found.values(), key=lambda h: h.student.lower()), notes


def _walk(place: Path, notes: list[str]) -> Iterator[tuple[str, bytes, float]]:
    if place.is_file():
        if not place.name.lower().endswith(_ARCHIVES):
            raise ClassroomError(f"{place} is neither a folder nor a zip or tar archive.")
        entries = list(_unpack(place.read_bytes(), place.name, notes))
        parts = [PurePosixPath(path).parts for path, *_ in entries]
        # An archive of one folder that holds all the students', unless that one is a student's own.
        wrapped = parts and len({p[0] for p in parts}) == 1 and all(len(p) > 2 for p in parts)
        if wrapped and (len({p[1] for p in parts}) > 1 or place.name.startswith(parts[0][0])):
            entries = [(str(PurePosixPath(*PurePosixPath(path).parts[1:])), data, when) for path, data, when in entries]
        yield from entries
        return
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if _JUNK.search(name) or path.is_symlink() or not path.is_file():
            continue
        if path.stat().st_size > _LARGEST:
            notes.append(f"{name}: larger than 20 MB, so it was not read.")
            continue
        yield name, path.read_bytes(), path.stat().st_mtime


def _unpack(content: bytes, name: str, notes: list[str]) -> Iterator[tuple[str, bytes, float]]:
    """The files of an archive, in memory; nothing is written, so no path in it can lead anywhere."""
    try:
        if name.lower().endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                for entry in packed.infolist():
                    if entry.is_dir() or _JUNK.search(entry.filename):
                        continue
                    if entry.file_size > _LARGEST:
                        notes.append(f"{name}: {entry.filename} in it is larger than 20 MB, so it was not read.")
                        continue
                    # A zip keeps its times as (year, month, ...), good enough to tell the newer of two.
                    yield entry.filename, packed.read(entry), _seconds(entry.date_time)
        else:
            with tarfile.open(fileobj=io.BytesIO(content)) as packed:
                for member in packed:
                    if not member.isfile() or _JUNK.search(member.name):
                        continue
                    if member.size > _LARGEST:
                        notes.append(f"{name}: {member.name} in it is larger than 20 MB, so it was not read.")
                        continue
                    if file := packed.extractfile(member):
                        yield member.name.removeprefix("./"), file.read(), float(member.mtime)
    except (zipfile.BadZipFile, tarfile.TarError, RuntimeError, EOFError, OSError, NotImplementedError) as error:
        notes.append(f"{name}: a broken archive that can't be opened ({type(error).__name__}).")


def _seconds(moment: tuple[int, ...]) -> float:
    year, month, day, hour, minute, second = moment
    return ((((year * 12 + month) * 31 + day) * 24 + hour) * 60 + minute) * 60.0 + second


def _whose(path: str) -> tuple[str, str, str]:
    """The student, the LMS's number where there is one, and the file's own name."""
    first, *rest = PurePosixPath(path).parts
    if rest:
        if moodle := _MOODLE.match(first):
            return moodle["student"].strip(), moodle["number"], "/".join(rest)
        return first.strip(), "", "/".join(rest)
    if canvas := _CANVAS.match(first):
        return canvas["student"], canvas["number"], canvas["rest"]
    stem = first.partition(".")[0]
    for name in LESSONS.values():
        stem = re.sub(rf"[ _\-]*{name}[ _\-]*(\(\d+\))?", " ", stem)
    stem = re.sub(r"\s*\(\d+\)$", "", stem).strip(" _-")
    return stem, "", first


def _add(hand_in: HandIn, name: str, content: bytes, when: float) -> None:
    if name.lower().endswith(_ARCHIVES):
        inner = list(_unpack(content, name, hand_in.notes))
        for path, data, moment in inner:
            hand_in.files[f"{name}/{path}"] = (data, moment)
        if not inner and not hand_in.notes:
            hand_in.notes.append(f"{name}: an empty archive.")
    else:
        hand_in.files[name] = (content, when)
