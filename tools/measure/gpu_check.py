"""Is the package right, and how fast is it, on a GPU? One command, under six minutes on an H100.

    python tools/measure/gpu_check.py [--only right fast course] [--device cuda] [--json FILE]

`right` holds every number that a GPU computes against float64 on the CPU, and walks each way through a run. `fast`
times the textbook loop, pystiche and this package in turns, with each lever by itself. `course` runs lessons 00 to 07.
Each row is by itself: one that fails is told and the others go on; the exit code is 1 if one of `right` or `course`
failed. Each part has a budget of seconds, and the rows it has no time for say so. On `--device cpu` a smaller `right`
runs as a rehearsal.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

import torch  # noqa: E402
from gpu_rows import Part, machine, words  # noqa: E402

PARTS = ("right", "fast", "course")
BUDGETS = {"right": 85.0, "fast": 165.0, "course": 105.0}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, default=Path(os.environ.get("OUT") or ROOT / "runs") / "gpu_check.json")
    parser.add_argument("--rows", nargs="+", default=[""], help="only the rows whose name holds one of these")
    parser.add_argument("--skip", nargs="+", default=[], help="none of the rows whose name holds one of these")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024], help="of `fast`: short sides in pixels")
    parser.add_argument("--networks", nargs="+", default=["vgg19", "mini"], help="of `fast`")
    parser.add_argument("--evaluations", type=int, default=300, help="of `fast`: of each race to the textbook's loss")
    for part, seconds in BUDGETS.items():
        parser.add_argument(f"--{part}-seconds", type=float, default=seconds)
    options = parser.parse_args(arguments)
    device = torch.device(options.device)

    def wanted(name: str) -> bool:
        return any(word in name for word in options.rows) and not any(word in name for word in options.skip)

    report: dict[str, Any] = machine(device) | {"command": " ".join(sys.argv), "parts": {}}
    print(words(report), flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        options.json.write_text(json.dumps(report, indent=1, default=str), "utf-8")

    failed = False
    for name in options.only:
        part = Part(name, getattr(options, f"{name}_seconds"), save)
        report["parts"][name] = part.rows
        if name == "right":
            import gpu_right

            checks = gpu_right.checks(device, small=device.type == "cpu")
            for title, check in checks.items():
                if wanted(title):
                    part.row(title, check, most=45)
        elif name == "fast":
            import gpu_fast

            gpu_fast.measure(part, device, options, wanted)
        else:
            import gpu_course

            gpu_course.measure(part, wanted)
        failed = failed or (part.failed and name != "fast")
    print(f"\n{options.json}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
