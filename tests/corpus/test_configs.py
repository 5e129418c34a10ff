"""A corpus of broken configurations: each is told in one message, and nothing is touched."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from bad_input import BadInput, Complaint

PLAIN = "suite: [cars, digits]\nmerges: [{method: ties}]\n"
OWN = PLAIN + "tasks: {own: {source: folder, root: images, %s}}\n"
HUB = PLAIN + "checkpoints: {origin: hub, repository: '%s'}\n"


def config(name: str, text: str | bytes, *told: str) -> BadInput:
    """One whose file is all there is."""

    def write(folder: Path) -> Sequence[str | Path]:
        (folder / "mine.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return ["plan", "mine.yaml"]

    return BadInput(name, write, ("mine.yaml", *told))


def bomb(levels: int) -> str:
    lines = [f"x-{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(["x-0: &x0 [cars, digits]", *lines, f"suite: *x{levels - 1}", "merges: [{method: ties}]\n"])


def grid(rows: int) -> str:
    return (
        f"suite: [cars, digits]\nmerges: [{{method: ties, coefficient: {[*range(rows)]}, density: {[*range(rows)]}}}]"
    )


TEXTS = [
    config("UTF-16", PLAIN.encode("utf-16"), "UTF-16", "save it as UTF-8"),
    config("UTF-16 without a mark", PLAIN.encode("utf-16-le"), "null bytes", "save it as UTF-8"),
    config("Latin-1", PLAIN.encode() + "name: Größe".encode("latin-1"), "byte 0xf6, line 3", "save it as UTF-8"),
    config("a picture", b"\x89PNG\r\n\x1a\n\x00\x00", "not UTF-8", "save it as UTF-8"),
    config("nothing", "", "expected a configuration, a mapping of keys", "config/README.md"),
    config("comments only", "# nothing yet\n", "expected a configuration, a mapping of keys"),
    config("a list", "- suite: [cars]\n", "expected a configuration, a mapping of keys"),
    config("a word", "demo", "expected a configuration, a mapping of keys"),
    config("tabs", "suite:\n\t- cars\n", "line 2, column 1"),
    config("an open bracket", "suite: [cars, digits\nmerges: [{method: ties}]\n", "can't be read", "line 2"),
    config("two documents", f"{PLAIN}---\n{PLAIN}", "expected a single document"),
    config("an unknown alias", PLAIN + "seed: *mine\n", "undefined alias", "line 3"),
    config(
        "code", PLAIN + "name: !!python/object/apply:os.mkdir [ran]\n", "could not determine a constructor", "line 3"
    ),
    config("a day that there is not", PLAIN + "name: 2025-02-30\n", "day is out of range"),
    config("a number of a book's length", PLAIN + f"seed: {'9' * 5000}\n", "4300 digits"),
    config("a bell", PLAIN + "name: a\x07b\n", "control characters are not allowed"),
    config("a bomb of aliases", bomb(12), "values with its anchors filled in", "1,000,000 at most"),
    config("a snake that eats itself", "suite: &a [cars, *a]\nmerges: [{method: ties}]\n", "inside of its own anchor"),
    config("a hole without a bottom", f"suite: {'[' * 99_999}", "line 1", "50 levels"),
    config("a million rows", grid(1000), "merges[0]", "1,000,000 rows", "10,000 at most", "shorten the lists"),
]

SPELLINGS = [
    config("a key with a slip of the pen", "suite: [cars, digits]\nmerge: [{method: ties}]\n", "merge", "merges"),
    config(
        "a key twice", PLAIN + "seed: 1\nname: x\nseed: 2\n", "seed: written twice", "lines 3 and 5", "leave one out"
    ),
    config("an octal class", OWN % "classnames: [0625, b]", "own.classnames[0]: 0625", "405", "quotes: '0625'"),
    config("a class that is a time", OWN % "classnames: [a, 12:30:45]", "classnames[1]: 12:30:45", "'12:30:45'"),
    config("a class that is a day", OWN % "classnames: [a, 2025-01-02]", "classnames[1]: 2025-01-02", "'2025-01-02'"),
    config("a class in base 16", OWN % "classnames: [0x1F, b]", "classnames[0]: 0x1F", "quotes: '0x1F'"),
    config("a class called no", OWN % "classnames: [yes, no]", "[1]: no", "quotes: 'no'", "[0]: yes", "quotes: 'yes'"),
    config("a class called null", OWN % "classnames: [null, b]", "[0]: null", "nothing", "quotes: 'null'"),
    config("a task called off", PLAIN + "tasks: {off: {source: folder, root: x}}\n", "tasks.off", "a name of letters"),
    config("octal steps", PLAIN + "finetuning: {steps: 01000}\n", "finetuning.steps: 01000", "512", "in quotes"),
    config("half a character", OWN % 'classnames: ["a\\0", b]', "classnames[0]", "no character", "leave it out"),
    config("a run called by a sentence", PLAIN + "name: my first run\n", "'my first run'", "such as 'my_first_run'"),
    config("a run called endlessly", PLAIN + f"name: {'a' * 300}\n", "name:", "of 100 characters at most"),
    config("a row called like a reference", PLAIN.replace("ties", "ties, name: Individual"), "'Individual'", "another"),
]

SETTINGS = [
    config("other braces", PLAIN + "tasks: {cars: {templates: ['a {name}, {}']}}\n", "'a {name}, {}'", "other braces"),
    config("no braces", PLAIN + "tasks: {cars: {templates: ['a car']}}\n", "'a car'", "has no {} for the class name"),
    config("a nameless class", OWN % "classnames: ['', b]", "own.classnames", "a class has no name; give it one"),
    config("a class twice", OWN % "classnames: [a, b, a]", "own.classnames", "'a' is listed twice"),
    config("too few class names", PLAIN + "tasks: {cars: {classnames: [a, b]}}\n", "12 classes, but classnames 2"),
    config("a percentage", PLAIN.replace("ties", "ties, density: 20%"), "merges[0].density", "'20%'", "mean 0.2?"),
    config("a percentage of entries", PLAIN.replace("ties", "ties, density: 20"), "density: 20", "mean 0.2?"),
    config("a whole percentage", PLAIN.replace("ties", "ties, trust_region: {tau: 5}"), "tau: 5", "mean 0.05?"),
    config("infinity", PLAIN.replace("ties", "ties, coefficient: .inf"), "merges[0].coefficient: .inf", "a number"),
    config("an empty sweep", PLAIN.replace("ties", "ties, coefficient: []"), "merges[0].coefficient", "an empty list"),
    config(
        "two rows of one name", PLAIN.replace("ties", "[ties, magmax], name: a"), "names all 2 rows of a sweep alike"
    ),
    config("a suite of one", PLAIN.replace("[cars, digits]", "[cars]"), "suite: ['cars']", "2 or more"),
    config("an unknown task", PLAIN.replace("digits", "digit"), "suite[1]: 'digit'", "did you mean 'digits'?"),
    config(
        "a task that can't be drawn",
        PLAIN + "tasks: {zebras: {source: tiny8}}\n",
        "tasks.zebras.source",
        "known: scenes",
    ),
    config("no such method", PLAIN.replace("ties", "tie"), "merges[0].method: 'tie'", "did you mean 'ties'?"),
    config(
        "a seed beyond all generators", PLAIN + "seed: 1e20\n", "seed: 100000000000000000000", "from 0 to 4294967295"
    ),
    config("colours of the mind", PLAIN + "display: {colour: octarine}\n", "display.colour: 'octarine'", "tab:blue"),
    config("a figure of a street's width", PLAIN + "display: {figure_width: 1e5}\n", "figure_width", "up to 50"),
    config(
        "a deviation of nothing", PLAIN + "backbone: {name: x, weights: y, std: [1, 1, 0]}\n", "std[2]: 0", "above 0"
    ),
    config("a repository's address", HUB % "https://host/a/{task}", "checkpoints.repository", "expected OWNER/NAME"),
    config(
        "a model for all", PLAIN + "checkpoints: {origin: folder, path: a.pt}\n", "'a.pt'", "write {task} or {name}"
    ),
    config("an analysis of nothing", PLAIN + "analyses: {tau_curve: {}}\n", "analyses.tau_curve", "give one a list"),
    config(
        "the paper's figures of another model", PLAIN + "sanity: {expected: paper}\n", "sanity.expected: paper", "cover"
    ),
    config(
        "published models of another backbone",
        *(PLAIN + "sanity: {expected: published}\n", "sanity.expected: published", "write {TASK: accuracy in %}"),
    ),
]

PLACES = [
    config("no such backbone", PLAIN + "backbone: tiny-clop\n", "'tiny-clop'", "did you mean 'tiny-clip'?"),
    config(
        "no such model", PLAIN + "backbone: {name: ViT-B-33, weights: openai}\n", "'ViT-B-33'", "did you mean ViT-B-32"
    ),
    config(
        "no such weights",
        PLAIN + "backbone: {name: ViT-B-32, weights: a/b.pt}\n",
        "backbone.weights",
        "a/b.pt is no file",
    ),
    config("no such checkpoint", PLAIN + "checkpoints: {origin: folder, path: 'm/{task}'}\n", "m/cars is no file"),
    config("a path beyond all file systems", PLAIN + f"backbone: {'a' * 4999}\n", "aaa", "File name too long"),
    config(
        "someone else's home",
        PLAIN + "backbone: ~no_such_user/clip\n",
        "'~no_such_user/clip'",
        "write the path in full",
    ),
    BadInput("a file that is not there", lambda folder: ["plan", "mine.yaml"], ("mine.yaml", "No such file")),
    BadInput("a folder", lambda folder: ["plan", str(folder)], ("can't be read", "Is a directory")),
]


def backbone(name: str, model: object, *told: str) -> BadInput:
    """A folder that open_clip might have saved, but for its config."""

    def write(folder: Path) -> Sequence[str | Path]:
        (folder / "clip").mkdir()
        (folder / "clip/open_clip_config.json").write_text(json.dumps(model), encoding="utf-8")
        (folder / "mine.yaml").write_text(PLAIN + "backbone: clip\n", encoding="utf-8")
        return ["plan", "mine.yaml"]

    return BadInput(f"a backbone: {name}", write, ("mine.yaml", "clip/open_clip_config.json", *told))


BACKBONES = [
    backbone("a list", [], "not a config that open_clip saved"),
    backbone("nothing", None, "not a config that open_clip saved"),
    backbone("no model", {}, "not a config that open_clip saved"),
    backbone("a model that is a number", {"model_cfg": 3}, "not a config that open_clip saved"),
    backbone(
        "preprocessing that is a number", {"model_cfg": {}, "preprocess_cfg": 3}, "not a config that open_clip saved"
    ),
    backbone("a model without towers", {"model_cfg": {}}, "the model config lacks 'vision_cfg'"),
    backbone("towers that are numbers", {"model_cfg": {"vision_cfg": 1, "text_cfg": 2}}, "are not both sections"),
    backbone(
        "a ResNet", {"model_cfg": {"vision_cfg": {"layers": [3, 4]}, "text_cfg": {}}}, "a ResNet is not supported"
    ),
    backbone(
        "another resizing",
        {"model_cfg": {"vision_cfg": {}, "text_cfg": {}}, "preprocess_cfg": {"resize_mode": "longest"}},
        "'longest': images are resized by 'shortest' or 'squash'",
    ),
    *(
        backbone(
            f"{key} is {value!r}",
            {"model_cfg": {"embed_dim": 8, "vision_cfg": {key: value}, "text_cfg": {}}},
            f"vision_cfg.{key}: {value!r}: expected a {kind}",
        )
        for key, value, kind in (
            ("image_size", "32", "whole number from 1 up"),
            ("image_size", 0, "whole number from 1 up"),
            ("patch_size", [16, 8.5], "whole number from 1 up"),
            ("layers", True, "whole number from 1 up"),
            ("timm_model_name", 3, "name"),
        )
    ),
    *(
        backbone(
            f"{key} is {value!r}",
            {"model_cfg": {"vision_cfg": {}, "text_cfg": {}}, "preprocess_cfg": {key: value}},
            f"preprocess_cfg: {key}: {value!r}: expected three numbers",
        )
        for key, value in (("mean", "0.5"), ("mean", [0.5, 0.5]), ("mean", None), ("std", [0.2, 0.2, 0]))
    ),
]


@pytest.mark.parametrize("bad", [*TEXTS, *SPELLINGS, *SETTINGS, *PLACES, *BACKBONES], ids=lambda bad: bad.name)
def test_it_is_told(bad: BadInput, complaint: Complaint) -> None:
    complaint(bad)
