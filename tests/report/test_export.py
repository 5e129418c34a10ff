"""Export: plain open_clip loads the folder and computes what ours computes; the card says what the model is."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture
from tatr.clip.correction import corrected, load_modules
from tatr.digests import file_digest
from tatr.report.classifiers import Classifier
from tatr.report.export import open_clip_config
from tatr.report.usage import classes, classification
from tatr.vectors.layout import Layout
from tatr.vectors.store import write_vector
from tatr.weights.encoder_file import load_tensors, save_tensors
from tatr.workflow.artefact import FILE, Artefact, Manifest, inputs_of
from tatr.workflow.code_digest import SCRIPTS
from tatr.workflow.verification import problems

Call = Callable[..., Any]
Config = dict[str, Any]
Tensors = dict[str, np.ndarray]
TEXTS = ["a photo of a cat.", "a diagram"]
SEARCH = [
    {"tau": 0.01, "coefficient": 0.3, "validation": 0.5},
    {"tau": 0.02, "coefficient": 0.3, "validation": 0.51234},
    {"tau": 0.02, "coefficient": 0.4, "validation": 0.4},
]
SCORES = {
    "coefficient": 0.3,
    "tau": 0.02,
    "direction": 1,
    "search": SEARCH,
    "scores": {
        "cars": {"correct": 1234, "images": 2468, "accuracy": 0.5},
        "digits": {"correct": 3, "images": 4, "accuracy": 0.75},
    },
    "average": 0.625,
}
SETTINGS = {
    "row": "Task Arithmetic + TATR",
    "method": "task_arithmetic",
    "settings": {"density": 0.2},
    "trust_region": {"sensitivity": "gradient", "tau": {"search": [0.01, 0.02]}, "exemplars": None},
    "surgery": None,
    "tasks": ["cars", "digits"],
    "remark": "made for a test",
}
BY_TENSOR = {"patterns": [["*.ln_*", 0.0]], "otherwise": 0.5}
BY_NAMES = f"by names of tensors, the first pattern that matches: `{json.dumps(BY_TENSOR)}`"
CLASSES = {"cars": ["a coupé", "van", "truck"], "digits": ["0", "1", "2"], "signs": ["stop", "go", "yield"]}
TEMPLATES = ["a photo of a {}.", "{} | drawn"]

# Run where the project can't be imported: what somebody does who has the folder and open_clip, and nothing else.
PLAIN = """
import sys
import numpy, open_clip, torch
given, *folders = sys.argv[1:]
pixels = torch.tensor(numpy.load(given))
for folder in folders:
    preprocess = open_clip.create_model_and_transforms("local-dir:" + folder)[2]
    tokens = open_clip.get_tokenizer("local-dir:" + folder)(["a photo of a cat.", "a diagram"])
    model = open_clip.create_model("local-dir:" + folder).eval()
    with torch.no_grad():
        images, texts = model.encode_image(pixels), model.encode_text(tokens)
    scale, preprocess = model.logit_scale.detach(), repr(preprocess)
    numpy.savez(folder + ".npz", images=images, texts=texts, scale=scale, preprocess=preprocess)
assert not any(name.split(".")[0] == "tatr" for name in sys.modules)
"""


def without_quick_gelu(model: Config) -> Config:
    """A model config that does not mention the activation, and has a preprocessing of its own."""
    rest = {key: value for key, value in model.items() if key != "quick_gelu"}
    return rest | {"preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}}


@pytest.fixture
def towers(model: Config) -> dict[str, Tensors]:
    """Random tensors of the image tower, two directions over it, and the text tower."""
    rng, architecture = np.random.default_rng(0), Architecture.of(model, "tiny")

    def tensors(layout: Layout) -> Tensors:
        return {p.name: rng.normal(0, 0.3, p.shape).astype(np.float32) for p in layout.parameters}

    found = {name: tensors(architecture.layout()) for name in ("image", "v0", "v1")}
    return found | {"text": tensors(architecture.text_layout()) | {"logit_scale": np.float32(3.5)}}


@pytest.fixture
def inputs(make_artefact: Call, towers: dict[str, Tensors], model: Config, tmp_path: Path) -> Call:
    """Make the artefacts that an export reads."""
    layout = Architecture.of(model, "tiny").layout()

    def make(
        model_config: Config, scores: Config, *, surgery: bool, directions: int = 2, masks: int = 0
    ) -> dict[str, list[Artefact]]:
        def head(folder: Path) -> dict[str, str]:
            weight = np.random.default_rng(len(folder.name)).normal(size=(3, 12)).astype(np.float32)
            save_tensors({"weight": weight}, folder / "head.safetensors")
            (folder / "classnames.json").write_text(json.dumps(CLASSES[folder.name]))
            return {path.name: file_digest(path) for path in folder.iterdir()}

        def pretrained(folder: Path) -> dict[str, str]:
            save_tensors(towers["image"], folder / "encoder.safetensors")
            save_tensors(towers["text"], folder / "text.safetensors")
            layout.save(folder / "layout.json")
            (folder / "model.json").write_text(json.dumps(model_config))
            return {path.name: file_digest(path) for path in folder.iterdir()}

        def direction(folder: Path) -> dict[str, str]:
            flat = layout.flatten(towers[folder.name])
            parts = [flat[block] for block in layout.blocks()]
            return {"vector.zarr": write_vector(folder / "vector.zarr", layout.size, layout.digest, parts)}

        def mask(folder: Path) -> dict[str, str]:
            parts = [kept(int(folder.name[1:]), layout)]
            return {"vector.zarr": write_vector(folder / "vector.zarr", layout.size, layout.digest, parts, bool)}

        def modules(folder: Path) -> dict[str, str]:
            drawn = np.random.default_rng(2).normal(size=(2, 3, 12)).astype(np.float32)
            save_tensors({"cars.down": drawn[0], "cars.up": drawn[1].T}, folder / "surgery.safetensors")
            return {"surgery.safetensors": file_digest(folder / "surgery.safetensors")}

        def evaluation(folder: Path) -> dict[str, str]:
            (folder / "scores.json").write_text(json.dumps(scores))
            return {"scores.json": file_digest(folder / "scores.json")}

        for kind in ("backbone", "merge", "mask", "surgery", "head", "evaluation"):
            shutil.rmtree(tmp_path / kind, ignore_errors=True)
        made = {
            "backbone": [make_artefact("backbone", "tiny-0123456789ab", {}, pretrained)],
            "directions": [make_artefact("merge", name, {}, direction) for name in ("v0", "v1")[2 - directions :]],
            "masks": [make_artefact("mask", f"m{number}", {}, mask) for number in range(masks)],
            "surgery": [make_artefact("surgery", "s", {}, modules)] if surgery else [],
            "heads": [make_artefact("head", t, {"task": t, "templates": TEMPLATES}, head) for t in scores["scores"]],
        }
        measured = make_artefact("evaluation", "e", {"coefficients": [0.3, 0.4]}, evaluation)
        measured.manifest.inputs = inputs_of(made)
        measured.manifest.save(measured.folder)
        return made | {"evaluation": [measured]}

    return make


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> Call:
    """Run the command in this process: the folder, and the error message if there was one."""

    def run(given: dict[str, list[Artefact]], **settings: object) -> tuple[Path, str]:
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            monkeypatch.setenv(variable, "1")
        line: list[str | Path] = [SCRIPTS / "export.py", "--settings", json.dumps(SETTINGS | settings)]
        for role, group in given.items():
            line += [f"--{role}", *(artefact.folder / FILE for artefact in group)]
        monkeypatch.setattr("sys.argv", [str(word) for word in (*line, "--output", tmp_path / "x" / FILE)])
        caplog.clear()
        try:
            runpy.run_path(str(SCRIPTS / "export.py"), run_name="__main__")
        except SystemExit:
            assert not (tmp_path / "x").exists()
            return tmp_path / "x", caplog.records[-1].getMessage()
        return tmp_path / "x", ""

    return run


def kept(number: int, layout: Layout) -> np.ndarray:
    return np.random.default_rng(number).random(layout.size) < 0.5


def merged(towers: dict[str, Tensors]) -> Tensors:
    return {name: tensor + np.float32(0.3) * towers["v1"][name] for name, tensor in towers["image"].items()}


@torch.no_grad()
def test_plain_open_clip_computes_the_merged_models_features(
    model: Config, towers: dict[str, Tensors], inputs: Call, export: Call, tmp_path: Path
) -> None:
    pixels = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "pixels.npy", pixels.numpy())
    configs = {"quick": model, "other": without_quick_gelu(model)}
    for name, config in configs.items():
        shutil.rmtree(tmp_path / "x", ignore_errors=True)
        folder, message = export(inputs(config, SCORES, surgery=name == "quick"))
        assert message == ""
        folder.rename(tmp_path / name)
    line = [sys.executable, "-I", "-c", PLAIN, tmp_path / "pixels.npy", *(tmp_path / name for name in configs)]
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    features = []
    for name, config in configs.items():
        found, architecture = np.load(tmp_path / f"{name}.npz"), Architecture.of(config, "tiny")
        expected = clip.image_features(clip.to_tensors(merged(towers)), pixels, architecture).numpy()
        np.testing.assert_allclose(found["images"], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        features.append(expected)
        tokens = clip.tokenize(TEXTS, architecture.context_length)
        expected = clip.text_features(clip.to_tensors(towers["text"]), tokens, architecture).numpy()
        np.testing.assert_allclose(found["texts"], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        assert found["scale"] == 3.5
        assert "size=8, interpolation=bicubic" in str(found["preprocess"])
        assert f"mean=({architecture.mean[0]}" in str(found["preprocess"]).replace("[", "(")
    assert np.abs(features[0] - features[1]).max() > 1e-3  # the activation matters here


@pytest.mark.parametrize("surgery", [False, True])
def test_the_weights_are_theta_to_the_bit(
    model: Config,
    towers: dict[str, Tensors],
    inputs: Call,
    export: Call,
    surgery: bool,
) -> None:
    folder, _ = export(inputs(model, SCORES, surgery=surgery))
    assert list(problems(folder / FILE)) == []
    names = {"open_clip_model.safetensors", "open_clip_config.json", "heads.safetensors", "tasks.json", "README.md"}
    names |= {"surgery.safetensors"} if surgery else set()
    assert set(Manifest.load(folder / FILE).content) == names == {path.name for path in folder.iterdir()} - {FILE}
    found, expected = load_tensors(folder / "open_clip_model.safetensors"), merged(towers) | towers["text"]
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, expected[name])
    if surgery:
        assert set(load_tensors(folder / "surgery.safetensors")) == {"cars.down", "cars.up"}


@pytest.mark.parametrize("directions", [1, 2])
def test_a_trust_region_restricts_what_is_exported(
    model: Config, towers: dict[str, Tensors], inputs: Call, export: Call, directions: int
) -> None:
    given = inputs(model, SCORES, surgery=False, directions=directions, masks=2)
    folder, message = export(given)
    assert message == ""
    region = Architecture.of(model, "tiny").layout().unflatten(kept(1, Architecture.of(model, "tiny").layout()))
    found, whole = load_tensors(folder / "open_clip_model.safetensors"), merged(towers)
    for name, tensor in towers["image"].items():
        np.testing.assert_array_equal(found[name], np.where(region[name], whole[name], tensor))
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"| trust region | `m1` | `{given['masks'][1].manifest.digest}` |" in card

    shutil.rmtree(folder)
    _, message = export(given | {"masks": []})
    lacking = "measured a model inside a trust region; give its --masks, too"
    assert ("--directions: got 1, --masks: got 0, but" if directions == 1 else lacking) in message
    _, message = export(given | {"masks": given["masks"][:1]})
    assert "--masks: got 1, but" in message
    assert "chose number 2" in message
    measured = given["evaluation"][0].manifest
    measured.inputs["masks"].pop("m1")
    measured.save(given["evaluation"][0].folder)
    _, message = export(given)
    assert "measured another model than one with" in message
    assert "mask/m1" in message


def test_the_card_says_what_the_model_is(model: Config, inputs: Call, export: Call) -> None:
    given = inputs(model, SCORES, surgery=False)
    folder, _ = export(given)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith(
        '---\nlibrary_name: open_clip\npipeline_tag: zero-shot-image-classification\nbase_model: "tiny"'
    )
    for line in (
        "# Task Arithmetic + TATR",
        "- Method: task_arithmetic",
        '- Settings of the method: `{"density": 0.2}`',
        '- Trust region: `{"sensitivity": "gradient", "tau": {"search": [0.01, 0.02]}, "exemplars": null}`',
        "- λ: 0.3",
        "- Tasks: cars, digits",
        "- remark: made for a test",
        "| 0.01 | 0.3 | 50.00 |",
        "| **0.02** | **0.3** | **51.23** |",
        "| 0.02 | 0.4 | 40.00 |",
        "| cars | 50.00 | 1,234 | 2,468 |",
        "| digits | 75.00 | 3 | 4 |",
        "| **Average** | **62.50** |  |  |",
    ):
        assert line in card.splitlines()
    for role, index in (("backbone", 0), ("evaluation", 0), ("directions", 1)):
        assert f"`{given[role][index].manifest.digest}`" in card
    assert given["directions"][0].manifest.digest not in card
    assert "τ (share of the parameters, the most sensitive ones, left as they were): 0.02" in card
    assert "surgery" not in card.lower()


@pytest.mark.parametrize("coefficient", [0.4, BY_TENSOR])
def test_the_card_says_how_a_merge_was_modified(
    model: Config, inputs: Call, export: Call, coefficient: float | Config
) -> None:
    calibration = {"method": "svc", "alpha": 0.125, "coefficient": coefficient}
    folder, _ = export(inputs(model, SCORES, surgery=False), weights={"cars": 2}, calibration=calibration)
    lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    # What the evaluation adds has λ in it.
    assert (f"- λ: {BY_NAMES}" if coefficient == BY_TENSOR else "- λ: 0.4") in lines
    assert '- Weights of tasks: `{"cars": 2}`; of all others 1' in lines
    assert f"- Calibration of λ·v: `{json.dumps(calibration)}`" in lines


def test_lambda_by_tensors_is_in_the_weights_and_in_the_card(
    model: Config, towers: dict[str, Tensors], inputs: Call, export: Call
) -> None:
    given = inputs(model, SCORES, surgery=False)
    measured = given["evaluation"][0].manifest
    measured.settings["coefficients"] = [BY_TENSOR]
    measured.save(given["evaluation"][0].folder)
    folder, _ = export(given, coefficient=BY_TENSOR)
    found = load_tensors(folder / "open_clip_model.safetensors")
    normal = {name: tensor for name, tensor in towers["image"].items() if ".ln_" in name}
    assert 0 < len(normal) < len(towers["image"])
    for name, tensor in towers["image"].items():
        if name in normal:
            np.testing.assert_array_equal(found[name], tensor)
    changed = [name for name in towers["image"] if name not in normal and (found[name] != towers["image"][name]).any()]
    for name in changed:
        kept = found[name] != towers["image"][name]
        expected = towers["image"][name] + 0.5 * SCORES["coefficient"] * towers["v1"][name]
        np.testing.assert_allclose(found[name][kept], expected[kept], rtol=1e-5, atol=1e-6)
    assert changed
    assert f"- λ: {BY_NAMES}" in (folder / "README.md").read_text(encoding="utf-8").splitlines()


def test_the_card_tells_tasks_that_were_not_merged(model: Config, inputs: Call, export: Call) -> None:
    signs = {"correct": 1, "images": 4, "accuracy": 0.25, "loss": 1.0}
    scores = SCORES | {"scores": SCORES["scores"] | {"signs": signs}, "unseen_average": 0.25}
    card = (export(inputs(model, scores, surgery=False))[0] / "README.md").read_text(encoding="utf-8")
    lines = card.splitlines()
    assert "| cars | 50.00 | 1,234 | 2,468 |" in lines
    assert "| signs (not merged) | 25.00 | 1 | 4 |" in lines
    assert "| **Average** | **62.50** |  |  |" in lines
    assert "| Average of those not merged | 25.00 |  |  |" in lines
    assert "- Tasks: cars, digits" in lines


def test_card_and_folder_hold_classes_prompts_and_preprocessing(model: Config, inputs: Call, export: Call) -> None:
    signs = {"correct": 1, "images": 4, "accuracy": 0.25, "loss": 1.0}
    scores = SCORES | {"scores": SCORES["scores"] | {"signs": signs}, "unseen_average": 0.25}
    folder, _ = export(inputs(model, scores, surgery=False))
    card = (folder / "README.md").read_text(encoding="utf-8")
    lines = card.splitlines()
    assert r"| cars | 3 | a coupé, van, truck | `a photo of a {}.`, `{} \| drawn` |" in lines
    assert r"| signs (not merged) | 3 | stop, go, yield | `a photo of a {}.`, `{} \| drawn` |" in lines
    assert "the shorter side is scaled to 8 pixels (bicubic), the middle 8 × 8 pixels are kept" in card
    mean = ", ".join(f"{value:g}" for value in Architecture.of(model, "tiny").mean)
    assert f"the channels' means ({mean}) are subtracted" in card
    expected = {"cars": True, "digits": True, "signs": False}
    assert json.loads((folder / "tasks.json").read_text()) == {
        task: {"classnames": CLASSES[task], "templates": TEMPLATES, "merged": merged}
        for task, merged in expected.items()
    }


def test_a_long_list_of_classes_is_cut_in_the_card() -> None:
    many = Classifier([f"c{number}" for number in range(23)], ["a {}."], np.zeros((23, 2)))
    assert "| cars | 23 | c0, c1, " in (text := classes({"cars": many}, ["cars"]))
    assert "c19, … (3 more) |" in text and "c20" not in text


@torch.no_grad()
@pytest.mark.parametrize("surgery", [False, True])
def test_the_cards_own_lines_classify_an_image(
    model: Config, towers: dict[str, Tensors], inputs: Call, export: Call, surgery: bool
) -> None:
    given = inputs(model, SCORES, surgery=surgery)
    folder, _ = export(given)
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")
    lines, other = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in lines.splitlines() if line and "import" not in line]) == (8 if surgery else 6)
    code = f"{lines}print(scores[0].tolist())\n{other}print(scores.shape)"
    # Where the project can't be imported.
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr

    architecture, head = Architecture.of(model, "tiny"), load_tensors(given["heads"][0] / "head.safetensors")["weight"]
    parameters = clip.to_tensors(merged(towers))
    features = clip.image_features(parameters, clip.normalise(pixels[None], architecture), architecture)
    if surgery:
        features = corrected(features, *load_modules(given["surgery"][0] / "surgery.safetensors", "cpu")["cars"])
    scores = clip.scores(features, torch.tensor(head))[0]
    name, printed, shape = done.stdout.splitlines()
    assert name == CLASSES["cars"][scores.argmax()]
    np.testing.assert_allclose(json.loads(printed), scores, rtol=1e-4)
    assert shape == "torch.Size([1, 2])"


def test_a_head_that_is_missing_or_another_is_refused(model: Config, inputs: Call, export: Call) -> None:
    given = inputs(model, SCORES, surgery=False)
    _, message = export(given | {"heads": given["heads"][:1]})
    assert "--heads: none is of task 'digits', which" in message
    measured = given["evaluation"][0].manifest
    del measured.inputs["heads"]["digits"]
    measured.save(given["evaluation"][0].folder)
    _, message = export(given)
    assert "measured another model than one with" in message
    assert "head/digits" in message


def test_the_page_shows_the_cards_lines() -> None:
    page = (SCRIPTS.parent / "docs/report/exports.md").read_text(encoding="utf-8")
    assert f"```python\n{classification('cars')}\n```" in page


def test_the_card_of_a_model_with_surgery_says_how_to_apply_it(model: Config, inputs: Call, export: Call) -> None:
    given = inputs(model, SCORES, surgery=True)
    card = (export(given)[0] / "README.md").read_text(encoding="utf-8")
    assert 'features -= (features @ modules[f"{task}.down"].T).relu() @ modules[f"{task}.up"].T' in card
    assert "with each task's surgery module, which open_clip itself does not apply" in card
    assert f"`{given['surgery'][0].manifest.digest}`" in card


@pytest.mark.parametrize(
    ("search", "lines"),
    [
        ([], ["λ and τ were given, not searched for."]),
        (
            [{"tau": None, "coefficient": c, "validation": c} for c in (0.1, 0.3)],
            ["| λ | Mean accuracy on validation [%] |", "| **0.3** | **30.00** |"],
        ),
    ],
)
def test_the_card_of_a_merge_whose_tau_was_not_searched_for(
    model: Config, inputs: Call, export: Call, search: list[Any], lines: list[str]
) -> None:
    given = inputs(model, SCORES | {"tau": None, "direction": 0, "search": search}, surgery=False)
    card = (export(given)[0] / "README.md").read_text(encoding="utf-8")
    assert set(lines) <= set(card.splitlines())
    assert given["directions"][0].manifest.digest in card


def test_the_card_says_that_a_sensitivity_decides_without_tau(model: Config, inputs: Call, export: Call) -> None:
    given = inputs(model, SCORES | {"tau": None, "direction": 0, "search": []}, surgery=False)
    region = {"sensitivity": "positive", "exemplars": 8}
    card = (export(given, trust_region=region)[0] / "README.md").read_text(encoding="utf-8")
    assert '- Trust region: `{"sensitivity": "positive", "exemplars": 8}`' in card
    assert "- τ: none; the sensitivity alone decides which parameters are left as they were" in card


@pytest.mark.parametrize("quick", [True, False])
def test_the_activation_is_always_written_out(model: Config, quick: bool) -> None:
    written = open_clip_config(model if quick else without_quick_gelu(model))
    assert written["model_cfg"]["quick_gelu"] is quick
    assert "preprocess_cfg" not in written["model_cfg"]
    assert written["preprocess_cfg"]["interpolation"] == "bicubic"
    assert quick or written["preprocess_cfg"]["mean"] == [0.5, 0.4, 0.3]


def test_an_evaluation_of_another_model_is_refused(model: Config, inputs: Call, export: Call) -> None:
    given = inputs(model, SCORES, surgery=True)
    measured = given["evaluation"][0].manifest
    _, message = export(given | {"surgery": []})
    assert "measured a model with surgery; give its --surgery, too" in message
    _, message = export(given | {"directions": given["directions"][:1]})
    assert "--directions: got 1, --masks: got 0, but" in message
    assert "chose number 2; give all that it chose from" in message
    for role, folder in (("backbone", "backbone/tiny"), ("directions", "merge/v1"), ("surgery", "surgery/s")):
        whole = measured.inputs
        measured.inputs = {name: group for name, group in whole.items() if name != role}
        measured.save(given["evaluation"][0].folder)
        _, message = export(given)
        assert "measured another model than one with" in message
        assert folder in message
        measured.inputs = whole


@pytest.mark.filterwarnings("ignore:overflow")
def test_a_model_that_is_not_finite_is_refused(model: Config, inputs: Call, export: Call) -> None:
    _, message = export(inputs(model, SCORES | {"coefficient": 1e39}, surgery=False))
    assert "the merged model (λ = 1e+39): 'visual.class_embedding' holds NaN or infinity" in message
