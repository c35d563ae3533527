"""Write data/images.toml and the table in data/README.md from the files and what the tools know of them.

Sizes and SHA-256 sums are read from the files, everything else from `fetch_content.PHOTOS` and `draw_styles.STYLES`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from draw_styles import STYLES
from fetch_content import PHOTOS
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- table: written by tools/make/manifest.py -->", "<!-- end of table -->"


def records(data: Path) -> list[dict[str, str | int]]:
    """One record per picture, in the order of the tools."""
    found: list[dict[str, str | int]] = []
    for name, photo in PHOTOS.items():
        told = {"title": photo.title, "author": photo.author, "year": photo.year, "licence": photo.licence}
        found.append(
            {
                "name": name,
                "file": f"content/{name}.jpg",
                "kind": "content",
                **told,
                "source": photo.source,
                "alt": photo.alt,
            }
        )
    for name, style in STYLES.items():
        told = {"title": style.title, "author": "neural style notebooks", "year": 2026, "licence": "CC0-1.0"}
        source = f"tools/make/draw_styles.py {name}, seed {style.seed}"
        found.append(
            {"name": name, "file": f"style/{name}.jpg", "kind": "style", **told, "source": source, "alt": style.alt}
        )
    for record in found:
        path = data / str(record["file"])
        with Image.open(path) as picture:
            record["width"], record["height"] = picture.size
        record["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def as_toml(found: list[dict[str, str | int]]) -> str:
    """The records as `[[image]]` tables; a JSON string or number is one in TOML as well."""
    tables = [
        "\n".join(["[[image]]", *(f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in r.items())]) for r in found
    ]
    return "# Written by tools/make/manifest.py.\n\n" + "\n\n".join(tables) + "\n"


def as_table(found: list[dict[str, str | int]]) -> str:
    """The records as a Markdown table."""
    rows = ["| picture | what it shows | author | licence | source |", "|---|---|---|---|---|"]
    for r in found:
        rows.append(
            f"| [{r['name']}]({r['file']}) | {r['alt']} | {r['author']}, {r['year']} | {r['licence']} | {r['source']} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write data/images.toml and the table in data/README.md.")
    parser.add_argument("--data", type=Path, default=ROOT / "data")
    data = parser.parse_args().data
    found = records(data)
    (data / "images.toml").write_text(as_toml(found), encoding="utf-8")
    readme = data / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{as_table(found)}\n{END}{after}", encoding="utf-8")
    total = sum((data / str(r["file"])).stat().st_size for r in found)
    print(f"{len(found)} pictures, {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
