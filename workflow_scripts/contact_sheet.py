"""Draw a contact sheet of the embedded benchmark: one row per class, grouped by task."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageDraw, ImageFont

from tatr.data.tiny8 import SIZE, TASKS, draw_split
from tatr.workflow.any_terminal import spell_what_can_not_be_shown

ENLARGE = 2
CELL = SIZE * ENLARGE + 2
LABEL = 150


def draw_task(task: str, classnames: Sequence[str], columns: int, seed: int) -> Image.Image:
    """The block of one task: its name, then for each class its name and `columns` test images."""
    images, labels = draw_split(task, classnames, "test", columns * len(classnames), seed)
    sheet = Image.new("RGB", (LABEL + columns * CELL, CELL * len(classnames) + 26), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((4, 4), task, fill="black", font=ImageFont.load_default(17))
    for row, classname in enumerate(classnames):
        top = 26 + row * CELL
        pen.text((8, top + CELL // 3), classname, fill="black", font=ImageFont.load_default(13))
        for column, pixels in enumerate(images[np.flatnonzero(labels == row)]):
            tile = Image.fromarray(pixels).resize((CELL - 2, CELL - 2), Image.Resampling.NEAREST)
            sheet.paste(tile, (LABEL + column * CELL, top))
    return sheet


def arrange(blocks: Sequence[Image.Image], across: int) -> Image.Image:
    """Put the blocks side by side, `across` in a line."""
    wide = blocks[0].width + 12
    lines = [blocks[start : start + across] for start in range(0, len(blocks), across)]
    heights = [max(block.height for block in line) + 8 for line in lines]
    page = Image.new("RGB", (across * wide, sum(heights)), "white")
    for line, top in zip(lines, np.cumsum([0, *heights[:-1]]).tolist(), strict=True):
        for column, block in enumerate(line):
            page.paste(block, (column * wide, top))
    return page


def main() -> None:
    """Read the tasks, draw them, write one PNG."""
    spell_what_can_not_be_shown()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=Path, default=Path("config/tasks.yaml"), help="task file")
    parser.add_argument("--output", type=Path, default=Path("docs/images/tiny8.png"), help="PNG")
    parser.add_argument("--columns", type=int, default=6, help="images per class")
    parser.add_argument("--across", type=int, default=4, help="tasks side by side")
    parser.add_argument("--seed", type=int, default=0, help="seed of the benchmark")
    arguments = parser.parse_args()
    tasks: Mapping[str, Mapping[str, Any]] = yaml.safe_load(arguments.tasks.read_text(encoding="utf-8"))
    blocks = [draw_task(task, tasks[task]["classnames"], arguments.columns, arguments.seed) for task in TASKS]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arrange(blocks, arguments.across).quantize(128).save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
