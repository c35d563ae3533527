"""Mark a class of fifty with all its accidents, as a teacher does: `python tools/measure/marking.py [--jobs 2]`.

The hand-ins are those of `tests/classroom/class_of_fifty.py`, in all graded lessons. The class is marked twice,
the first run is killed in between, and then every mark and sentence is compared with what it has to be. Exit
code 1 means that something is wrong. It prints the seconds by the clock, and those that a second proof of the
environment takes.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "classroom")]

import class_of_fifty as fifty  # noqa: E402

from nst_helpers.classroom.marking import results_of  # noqa: E402
from nst_helpers.classroom.questions import LESSONS  # noqa: E402
from nst_helpers.classroom.sources import Course, build  # noqa: E402


def main() -> int:
    """Build, hand in, mark, kill, mark on, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3, help="of processor time for a question")
    parser.add_argument("--kill-after", type=int, default=20, metavar="N", help="hand-ins (0: don't kill)")
    parser.add_argument("--keep", type=Path, help="a folder for the course and its reports")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = options.keep or Path(folder)
        course = build(root / "course", lessons=list(LESSONS), force=True)
        students = fifty.make_class(fifty.Writer(course.release, course.source, course.questions))
        fifty.hand_in(students, root / "hand-ins")
        print(f"{len(students)} hand-ins of {len(course.notebooks)} lessons, {len(course.questions)} questions")
        started = time.perf_counter()
        if options.kill_after:
            mark(root, options.jobs, options.seconds, stop_after=options.kill_after)
        mark(root, options.jobs, options.seconds)
        taken = time.perf_counter() - started
        wrong = fifty.mistakes(students, results_of(Course(root / "course")), course.questions, re.search)
        print("\n".join(wrong) or "every mark and every sentence is as it has to be")
        print(f"{len(students)} hand-ins: {taken:.0f} s by the clock with --jobs {options.jobs}")
        started = time.perf_counter()
        mark(root, options.jobs, options.seconds, more=["--again", students[0].name])
        print(f"one of them again, the environment proven before: {time.perf_counter() - started:.0f} s")
    return 1 if wrong else 0


def mark(root: Path, jobs: int, seconds: float, *, stop_after: int = 0, more: list[str] | None = None) -> None:
    """Run the command; kill it after so many hand-ins."""
    command = [sys.executable, "-m", "nst_helpers.classroom", "mark", str(root / "course"), str(root / "hand-ins")]
    command += ["--jobs", str(jobs), "--seconds", str(seconds), *(more or ())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        for line in run.stdout:
            if stop_after and line.startswith(f"{stop_after} of "):
                run.kill()
                print(f"killed after {stop_after} hand-ins")
                return
    if run.returncode:
        raise SystemExit(f"marking stopped with {run.returncode}")


if __name__ == "__main__":
    sys.exit(main())
