"""The code digest: every edit that can change a result changes it, no other does, and only where it is imported."""

import ast
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tatr.errors import TatrError
from tatr.workflow import code_digest as module
from tatr.workflow.artefact import FILE
from tatr.workflow.code_digest import SCRIPTS, closure, code_digest

MERGE = ("merge", "tatr.merging.methods.task_arithmetic")
SENSITIVITY = ("sensitivity", "tatr.merging.sensitivities.zero_shot")
Edit = Callable[[str, Callable[[str], str]], None]


def forget() -> None:
    for cached in (module.code_digest, module._imports, module._parse, module._tree):
        cached.cache_clear()


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edit]:
    """Edit a module of a copy of the project, on which digests are then computed."""
    shutil.copytree(SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "SCRIPTS", tmp_path / "scripts")
    forget()

    def edit(name: str, change: Callable[[str], str]) -> None:
        path = module._file(name)
        assert path is not None
        text = path.read_text()
        assert change(text) != text
        path.write_text(change(text))
        forget()

    yield edit
    forget()


@pytest.fixture
def digest_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """The digest of one module with the given text."""
    monkeypatch.setattr(module, "SCRIPTS", tmp_path)

    def digest(text: str) -> str:
        (tmp_path / "step.py").write_text(text)
        forget()
        return code_digest("step")

    yield digest
    forget()


CODE = '''
"""What it does."""
import math

LIMIT = 1


def scale(value: float, factor: float = 2.0) -> float:
    """Scale it."""
    return value * factor + 1


class Box:
    """Holds something."""

    size: int = 3
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""What it does."""', '"""Something else entirely."""'),
        ('    """Scale it."""\n', ""),
        ('    """Holds something."""\n\n', ""),
        ("LIMIT = 1\n", "LIMIT = 1  # at most\n\n\n\n# a comment\n"),
        ("value * factor + 1", "(\n        value * factor\n        + 1\n    )"),
        ("factor: float = 2.0)", "factor: float = 2.0,\n)"),
        ("    return", "    # why\n    return"),
    ],
)
def test_comments_docstrings_and_formatting_do_not_count(digest_of: Callable[[str], str], old: str, new: str) -> None:
    assert CODE.replace(old, new) != CODE
    assert digest_of(CODE.replace(old, new)) == digest_of(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 1", "LIMIT = 2"),
        ("LIMIT = 1", "LIMIT = 1.0"),
        ("LIMIT = 1", "LIMIT = True"),
        ("LIMIT = 1", 'LIMIT = "1"'),
        ("LIMIT = 1", "LIMIT = -1"),
        ("LIMIT = 1", "LIMIT = 1,"),
        ("LIMIT", "BOUND"),
        ("import math", "import cmath"),
        ("import math", "import math as m"),
        ("factor: float = 2.0", "factor: float = 2.5"),
        ("factor: float = 2.0", "factor: float"),
        ("factor: float = 2.0", "*, factor: float = 2.0"),
        ("factor: float = 2.0", "factor: int = 2.0"),
        ("value * factor + 1", "value / factor + 1"),
        ("value * factor + 1", "value * (factor + 1)"),
        ("value * factor + 1", "factor * value + 1"),
        ("return value", "yield value"),
        ("def scale", "async def scale"),
        ("def scale", "@staticmethod\ndef scale"),
        ("class Box:", "class Box(dict):"),
        ("size: int = 3", "size: int"),
    ],
)
def test_any_other_edit_counts(digest_of: Callable[[str], str], old: str, new: str) -> None:
    assert digest_of(CODE.replace(old, new)) != digest_of(CODE)


def test_a_string_that_is_used_is_no_docstring(digest_of: Callable[[str], str]) -> None:
    one, other = ('def f():\n    """Doc."""\n    return f"{x} %s"\n'.replace("%s", s) for s in ("a", "b"))
    assert digest_of(one) != digest_of(other)


EVERYWHERE = '''
import math

def show(values: list[float], width: int = 8) -> str:
    """Show them."""
    return " ".join(f"{value!r:>{width}.{2 + 1}f}{{}} %s \N{BULLET} é\u3000" for value in values) + f"{width=}"
'''


def test_a_digest_is_the_same_in_every_supported_python(digest_of: Callable[[str], str]) -> None:
    assert digest_of(EVERYWHERE) == "4944268f217d9c2a"


def test_how_an_f_string_is_cut_into_parts_does_not_count() -> None:
    def tree(*parts: str) -> str:
        texts: list[str] = []
        values: list[ast.expr] = [ast.Constant(part) for part in parts]
        module._dump(ast.JoinedStr([ast.FormattedValue(ast.Name("x"), -1, ast.JoinedStr(values))]), texts)
        return "".join(texts)

    assert tree(">", "8", "") == tree("", ">8") == tree(">8") != tree(">9")


@pytest.mark.parametrize("text", ["def (:", "x = '\0'", "  x = 1"])
def test_code_that_is_not_python_is_one_line(digest_of: Callable[[str], str], text: str) -> None:
    with pytest.raises(TatrError, match=r"step\.py.*: not Python .*; mend it and run again") as error:
        digest_of(text)
    assert "\n" not in str(error.value)


def test_modules_are_told_apart_by_name(digest_of: Callable[[str], str], tmp_path: Path) -> None:
    digest = digest_of("x = 1")
    (tmp_path / "other.py").write_text("x = 1")
    assert code_digest("other") != digest
    with pytest.raises(ModuleNotFoundError, match="no module 'absent'"):
        code_digest("absent")


def test_an_edit_of_a_module_reaches_exactly_the_steps_that_import_it(edit: Edit) -> None:
    by_name = {"merge": MERGE, "sensitivity": SENSITIVITY}
    steps = {
        name: by_name.get(name, (name,))
        for name in (
            "merge",
            "mask",
            "sensitivity",
            "task_vector",
            "evaluation",
            "gradient",
            "finetuning",
            "head",
            "tables",
        )
    }
    before = {name: code_digest(*modules) for name, modules in steps.items()}
    for edited, reached in {
        "tatr.merging.methods.task_arithmetic": {"merge"},
        "tatr.merging.methods.weight_average": set(),
        "tatr.merging.sensitivities.zero_shot": {"sensitivity"},
        "tatr.merging.sensitivities.gradient": set(),
        "tatr.merging.mask": {"mask"},
        "tatr.vectors.order_statistics": {"mask"},
        "tatr.training.finetuning": {"finetuning"},
        "tatr.clip.towers": {"evaluation", "gradient", "finetuning", "head"},
        "tatr.report.tables": {"tables"},
        "tatr.errors": set(steps),
    }.items():
        edit(edited, lambda text: text + "\n_EDITED = True\n")
        after = {name: code_digest(*modules) for name, modules in steps.items()}
        assert {name for name in steps if after[name] != before[name]} == reached, edited
        before = after


def test_every_module_of_a_closure_counts_and_no_other(edit: Edit) -> None:
    names = {".".join(p.relative_to(SCRIPTS).with_suffix("").parts) for p in SCRIPTS.rglob("*.py")}
    names = {name.removesuffix(".__init__") for name in names}
    inside = closure(MERGE)
    assert (
        {
            "merge",
            "tatr.workflow.job",
            "tatr.merging.merge",
            "tatr.vectors.store",
            "tatr.vectors.layout",
            "tatr.merging.methods",
        }
        <= inside
        < names
    )
    digests = [code_digest(*MERGE)]
    for name in names:
        edit(name, lambda text: text + "\n# a comment\n")
    for name in names - inside:
        edit(name, lambda text: text + "\n_EDITED = True\n")
    assert code_digest(*MERGE) == digests[0]
    for name in inside:
        edit(name, lambda text: text + "\n_EDITED = True\n")
        digests.append(code_digest(*MERGE))
    assert len(set(digests)) == 1 + len(inside)


@pytest.mark.parametrize("script", ["mask", "merge", "sensitivity", "task_vector"])
def test_what_a_step_loads_is_what_its_digest_covers(
    script: str, run_script: Callable[..., tuple[int, str, set[str]]], task_vectors: list[Path], sensitivity: Path
) -> None:
    modules = {"merge": MERGE, "sensitivity": SENSITIVITY}.get(script, (script,))
    arguments = {
        "mask": ("--sensitivity", sensitivity, "--settings", '{"tau": 0.1}'),
        "merge": ("--task-vectors", *task_vectors, "--settings", '{"method": "task_arithmetic"}'),
        "sensitivity": ("--task-vectors", *task_vectors, "--settings", '{"sensitivity": "zero_shot"}'),
        "task_vector": ("--backbone", task_vectors[0]),
    }[script]
    code, output, loaded = run_script(script, *arguments, "--output", task_vectors[0].parents[2] / "out" / FILE)
    assert (code == 0) == (script != "task_vector"), output  # that one is refused, having loaded what it needs first
    ours = {name for name in loaded if name.split(".")[0] == "tatr"}
    assert "tatr.workflow.job" in ours
    assert ours <= closure(modules)
    if code == 0:
        assert closure(modules) == ours | {script}


def test_imports_are_written_so_that_they_are_seen() -> None:
    # The digest follows absolute imports; a relative one would escape it.
    for path in SCRIPTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path
