"""The steps of docs/data/own-images.md: folders of images, the user's own CLIP, one short configuration."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
import yaml
from checkout import ROOT, Checkout, copy_sources, successful
from native_files import DIGITS, save, write_hub
from PIL import Image
from small_clip import write_backbone

from tatr.config.loading import load_config, read_tasks
from tatr.data.image_store import open_images
from tatr.data.sources import hub
from tatr.weights.encoder_file import load_tensors
from tatr.workflow.plan import build

PAGE = ROOT / "docs/data/own-images.md"
TASKS = ROOT / "config/tasks.yaml"
CLASSES = {"patterns": ("banded", "dotted", "woven"), "satellite": ("forest", "river")}


def configuration(heading: str = "## 4.") -> str:
    """What the page shows in a section: the whole configuration for a CLIP of one's own, or part of another one."""
    section = PAGE.read_text().partition(heading)[2]
    found = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


def test_the_configuration_is_short() -> None:
    assert len(configuration().splitlines()) < 20


def test_parquet_files_are_read_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_hub(Path("data/digits"), DIGITS, 10)
    shown = yaml.safe_load(configuration("## Parquet files"))
    merges = [{"method": "task_arithmetic", "coefficient": 0.3}]
    config = load_config({**shown, "suite": ["numbers", "cars"], "merges": merges}, read_tasks([TASKS]))
    plan = build(config, ROOT / "backbones")
    assert not plan.of_kind("download")
    settings = next(planned.settings for planned in plan.of_kind("images") if planned.settings["task"] == "numbers")
    assert hub.load(settings).classnames == list(DIGITS)


@pytest.fixture
def user(tmp_path: Path) -> Checkout:
    """A folder with images and a CLIP, beside a checkout of the project."""
    copy_sources(tmp_path / "project")
    folder = tmp_path / "mine"
    for task, classes in CLASSES.items():
        for label, name in enumerate(classes):
            for number in range(24):
                save(folder / "data" / task / name / f"{number}.jpg", label, number, (40, 48))
    write_backbone(folder / "models/mine")
    config = yaml.safe_load(configuration())
    # ViT-B/32 would be too large for a test; the page names this form of a backbone beside it.
    config |= {"backbone": "models/mine", "exemplars": {"count": 8}}
    config["finetuning"] |= {"steps": 4, "warmup_steps": 1, "batch_size": 8}
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    return Checkout(tmp_path / "project", folder / "mine.yaml", folder)


def test_from_folders_to_a_table_and_to_a_model_that_open_clip_loads(user: Checkout) -> None:
    printed = successful(user.snakemake("demo", "exported"))

    (path,) = user.results.glob("tables/mine-*/methods.csv")
    table = pd.read_csv(path, index_col="method")
    assert list(table.columns[:2]) == ["patterns", "satellite"]
    assert str(path.parent.relative_to(user.folder)) in printed
    exports = [path.parent for path in user.results.glob("export/*/manifest.json")]
    assert len(exports) == 2
    base = open_clip.create_model(f"local-dir:{user.folder / 'models/mine'}")
    for export in exports:
        model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{export}")
        assert (export / "README.md").read_text().startswith("---")
        pixels = preprocess_one(preprocess)
        with torch.no_grad():
            assert not torch.allclose(model.encode_image(pixels), base.encode_image(pixels))
        for name, tensor in base.state_dict().items():
            if not name.startswith("visual."):
                np.testing.assert_array_equal(model.state_dict()[name].numpy(), tensor.numpy())

    check_that_the_cards_lines_answer_as_the_evaluation_did(exports[0], user.results)


def check_that_the_cards_lines_answer_as_the_evaluation_did(export: Path, results: Path) -> None:
    """Run what the model card says, where the project can't be imported, on test images of the user's first task."""
    (lines,) = re.findall(r"```python\n(import.*?)```", (export / "README.md").read_text(), re.DOTALL)
    (images,) = results.glob("images/patterns-*/images.zarr")
    (evaluation,) = json.loads((export / "manifest.json").read_text())["inputs"]["evaluation"]
    answers = load_tensors(results / "evaluation" / evaluation / "predictions.safetensors")["patterns/predicted"]
    for index in (0, 9):
        Image.fromarray(open_images(images, "test")[index : index + 1][0]).save(export / "image.png")
        done = subprocess.run([sys.executable, "-I", "-c", lines], capture_output=True, text=True, cwd=export)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{CLASSES['patterns'][answers[index]]}\n"


def preprocess_one(preprocess) -> torch.Tensor:  # noqa: ANN001
    """An image as the exported model wants it."""
    return preprocess(Image.new("RGB", (50, 40), (200, 30, 90)))[None]
