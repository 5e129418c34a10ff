"""The commands from outside: help, bad arguments, one-line errors, nothing left behind, no torch for arithmetic."""

import ast
import errno
import json
import os
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tatr.vectors.chunks import Form
from tatr.vectors.store import StoredVector, write_vector
from tatr.workflow.artefact import FILE, Artefact, Manifest
from tatr.workflow.code_digest import SCRIPTS, code_digest
from tatr.workflow.step import kinds
from tatr.workflow.vector_saving import mean_over
from tatr.workflow.verification import problems

ZERO_SHOT, GRADIENT = (("--settings", json.dumps({"sensitivity": name})) for name in ("zero_shot", "gradient"))
Run = Callable[..., tuple[int, str, set[str]]]
STEPS = kinds()


@pytest.fixture
def attempt(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> Callable[..., str]:
    """Run a command in this process; its error message, after checking that it left nothing; "" if it succeeded."""

    def run(script: str, *arguments: str | Path, output: Path = tmp_path / "out" / "x" / FILE) -> str:
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            monkeypatch.setenv(variable, "1")  # commands set them; this brings them back
        path = SCRIPTS / f"{script}.py"
        monkeypatch.setattr("sys.argv", [str(word) for word in (path, *arguments, "--output", output)])
        caplog.clear()
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as stopped:
            assert stopped.code == 1
            assert not output.parent.exists()
            assert not list(tmp_path.rglob("*.partial*"))
            (message,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
            assert "\n" not in message
            return message
        assert list(problems(output)) == []
        return ""

    return run


def test_there_are_steps() -> None:
    assert {"mask", "merge", "sensitivity", "task_vector", "evaluation", "gradient", "finetuning"} <= set(STEPS)


@pytest.mark.parametrize("script", STEPS)
def test_help_describes_the_step_and_has_an_example(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [f"{script}.py", "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    shown, docstring = capsys.readouterr().out, ast.get_docstring(ast.parse((SCRIPTS / f"{script}.py").read_text()))
    assert stopped.value.code == 0
    assert f"example:\n  python workflow_scripts/{script}.py" in shown
    assert "FOLDER/manifest.json to make" in shown
    assert docstring
    assert docstring.splitlines()[0] in shown


def test_the_arithmetic_steps_make_whole_artefacts_and_import_no_torch(
    run_script: Run, task_vectors: list[Path], tmp_path: Path
) -> None:
    omega, mask, merge = (tmp_path / "out" / name / FILE for name in ("omega", "mask", "merge"))
    for script, *arguments in (
        ("sensitivity", "--task-vectors", *task_vectors, *ZERO_SHOT, "--output", omega),
        ("mask", "--sensitivity", omega, "--settings", '{"tau": 0.05}', "--output", mask),
        ("merge", "--task-vectors", *task_vectors, "--settings", '{"method": "task_arithmetic"}', "--output", merge),
    ):
        code, output, modules = run_script(script, *arguments)
        assert code == 0, output
        assert "numpy" in modules
        assert not modules & {"torch", "open_clip", "pandas", "PIL", "pydantic", "snakemake", "sklearn", "matplotlib"}
    assert all(list(problems(manifest)) == [] for manifest in (omega, mask, merge))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mask", "merge", "omega"]
    kept = StoredVector(mask.parent / "vector.zarr")[0:200]
    assert kept.sum() == 190
    vectors = [StoredVector(path.parent / "vector.zarr")[0:200] for path in task_vectors]
    np.testing.assert_array_equal(StoredVector(merge.parent / "vector.zarr")[0:200], sum(vectors))
    stated = Manifest.load(merge)
    assert set(stated.inputs["task_vectors"]) == {"cars", "digits", "signs"}
    modules, _, digest = stated.code.partition(":")
    assert digest == code_digest(*modules.split(",")) == code_digest("merge", "tatr.merging.methods.task_arithmetic")
    threshold = json.loads((mask.parent / "threshold.json").read_text())
    assert threshold["kept"] == 190
    assert threshold["of"] == 200


def test_an_error_is_one_line_without_a_traceback_and_exit_code_1(
    run_script: Run, task_vectors: list[Path], tmp_path: Path
) -> None:
    code, output, _ = run_script("mask", "--sensitivity", task_vectors[0], "--output", tmp_path / "out" / "m" / FILE)
    assert code == 1
    (line,) = output.strip().splitlines()
    assert "error:" in line
    assert "cars/manifest.json: holds task_vector, expected sensitivity" in line
    assert list(tmp_path.glob("out/*")) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{}", "--settings: lacks 'tau' (given: nothing)"),
        ('{"dau": 0.01}', "--settings: lacks 'tau' (given: dau)"),
        ('{"tau": 1.5}', "tau = 1.5: expected a share of the parameters, from 0 to below 1"),
        ('{"tau": ', "--settings: neither a JSON object nor a file that holds one"),
        ("/nowhere.json", "--settings: neither a JSON object nor a file that holds one: '/nowhere.json'"),
    ],
)
def test_bad_settings_of_a_mask(attempt: Callable[..., str], sensitivity: Path, given: str, message: str) -> None:
    assert message in attempt("mask", "--sensitivity", sensitivity, "--settings", given)


@pytest.mark.parametrize("text", ["[1, 2]", "3", '"tau"', "null", ""])
def test_a_settings_file_must_hold_an_object(
    attempt: Callable[..., str], sensitivity: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "settings.json").write_text(text)
    message = attempt("mask", "--sensitivity", sensitivity, "--settings", tmp_path / "settings.json")
    assert "neither a JSON object nor a file that holds one" in message


def test_settings_may_stand_in_a_file(attempt: Callable[..., str], sensitivity: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"tau": 0.1}')
    assert attempt("mask", "--sensitivity", sensitivity, "--settings", tmp_path / "settings.json") == ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{}", "lacks 'method'"),
        ('{"method": "magic"}', "method 'magic': unknown; expected one of "),
        ('{"method": "task_arithmetic", "settings": {"density": 1}}', "task_arithmetic: takes no setting density"),
    ],
)
def test_bad_settings_of_a_merge(
    attempt: Callable[..., str], task_vectors: list[Path], given: str, message: str
) -> None:
    assert message in attempt("merge", "--task-vectors", *task_vectors, "--settings", given)


def test_a_step_without_task_vectors_says_so(attempt: Callable[..., str]) -> None:
    for script, settings in (("merge", ()), ("sensitivity", ZERO_SHOT)):
        assert "--task-vectors: give the manifests of the task vectors" in attempt(script, *settings)


def test_a_sensitivity_is_named_and_gets_what_it_needs(attempt: Callable[..., str], task_vectors: list[Path]) -> None:
    given = ("sensitivity", "--task-vectors", *task_vectors)
    assert "--settings: lacks 'sensitivity'" in attempt(*given)
    assert "sensitivity 'hessian': unknown; expected one of gradient" in attempt(
        *given, "--settings", '{"sensitivity": "hessian"}'
    )
    assert "--gradients: give the manifests of the gradients, one per task" in attempt(*given, *GRADIENT)


def test_a_sensitivity_reads_the_gradients_over_as_many_exemplars_as_it_is_told(
    attempt: Callable[..., str], make_artefact: Callable[..., Artefact], task_vectors: list[Path], tmp_path: Path
) -> None:
    def write(folder: Path) -> dict[str, str]:
        return {
            mean_over(count): write_vector(
                folder / mean_over(count), 200, "some layout", [np.full(200, count, np.float32)]
            )
            for count in (1, 16)
        }

    gradients = [make_artefact("gradient", path.parent.name, {}, write).folder / FILE for path in task_vectors]
    given = ("sensitivity", "--task-vectors", *task_vectors, "--gradients", *gradients)
    sizes = sum(np.abs(StoredVector(path.parent / "vector.zarr")[0:200]) for path in task_vectors)
    for count in (1, 16):
        output = tmp_path / "omega" / str(count) / FILE
        settings = json.dumps({"sensitivity": "gradient", "exemplars": count})
        assert not attempt(*given, "--settings", settings, output=output)
        np.testing.assert_allclose(StoredVector(output.parent / "vector.zarr")[0:200], 2 * count * sizes, rtol=1e-5)
    assert "lists no content 'means/n-2.zarr'" in attempt(
        *given, "--settings", '{"sensitivity": "gradient", "exemplars": 2}'
    )
    assert "--settings: lacks 'exemplars'" in attempt(*given, *GRADIENT)


def test_one_task_has_no_sensitivity(attempt: Callable[..., str], task_vectors: list[Path]) -> None:
    assert "needs at least two tasks" in attempt("sensitivity", "--task-vectors", task_vectors[0], *ZERO_SHOT)


def test_inputs_that_do_not_belong_together(
    attempt: Callable[..., str], task_vectors: list[Path], make_vector: Callable[..., Path], tmp_path: Path
) -> None:
    other = make_vector("task_vector", "other", np.zeros(200, np.float32), "another layout")
    settings = ("--settings", '{"method": "task_arithmetic"}')
    assert "was made for another encoder" in attempt("merge", "--task-vectors", *task_vectors, other, *settings)
    gradient = make_vector("gradient", "cars", np.ones(200, np.float32))
    message = attempt("sensitivity", "--task-vectors", *task_vectors, "--gradients", gradient, *GRADIENT)
    assert "--task-vectors and --gradients: of different tasks" in message
    missing = tmp_path / "nowhere" / FILE
    assert f"{missing}: missing; run the step that makes it" in attempt("merge", "--task-vectors", missing)


def test_damaged_inputs(
    attempt: Callable[..., str], task_vectors: list[Path], flip_byte: Callable[[Path], None]
) -> None:
    settings = ("--settings", '{"method": "task_arithmetic"}')
    flip_byte(task_vectors[0].parent / "vector.zarr" / "c" / "0")
    assert "cars/vector.zarr: damaged" in attempt("merge", "--task-vectors", *task_vectors, *settings)
    task_vectors[0].write_text("{")
    assert "cars/manifest.json: not a manifest" in attempt("merge", "--task-vectors", *task_vectors, *settings)


def test_a_sensitivity_of_zero_masks_nothing_and_says_so(
    attempt: Callable[..., str], make_vector: Callable[..., Path]
) -> None:
    zeros = [make_vector("task_vector", name, np.zeros(200, np.float32)) for name in ("a", "b")]
    omega = zeros[0].parents[2] / "omega" / FILE
    assert attempt("sensitivity", "--task-vectors", *zeros, *ZERO_SHOT, output=omega) == ""
    assert "nothing would be kept" in attempt("mask", "--sensitivity", omega, "--settings", '{"tau": 0.01}')


def test_a_full_disk_is_one_clear_error(
    attempt: Callable[..., str], task_vectors: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Form, "write_chunk", full)
    message = attempt("merge", "--task-vectors", *task_vectors, "--settings", '{"method": "task_arithmetic"}')
    assert "out/x: the disk is full" in message
    assert "free some space and run again" in message


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_what_may_not_be_written_is_one_clear_error(
    code: int, attempt: Callable[..., str], task_vectors: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    message = attempt("merge", "--task-vectors", *task_vectors, "--settings", '{"method": "task_arithmetic"}')
    assert f"out: can't be read or written ({os.strerror(code)}); change its permissions" in message


def test_code_that_changed_since_it_was_planned_does_not_run(attempt: Callable[..., str], sensitivity: Path) -> None:
    line = ("mask", "--sensitivity", sensitivity, "--settings", '{"tau": 0.1}', "--code")
    message = attempt(*line, "mask:0123456789abcdef")
    assert "the code of this step (mask) changed after the workflow was planned (0123456789abcdef" in message
    assert attempt(*line, f"mask:{code_digest('mask')}") == ""


@pytest.mark.parametrize("output", ["precious", "precious/vector.zarr"])
def test_an_output_that_is_no_manifest_is_refused_before_anything_is_replaced(
    run_script: Run, sensitivity: Path, tmp_path: Path, output: str
) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    line = ("mask", "--sensitivity", sensitivity, "--settings", '{"tau": 0.1}', "--output", tmp_path / output)
    code, message, _ = run_script(*line)
    assert code == 1
    assert "is not FOLDER/manifest.json" in message
    assert (tmp_path / "precious" / "thesis.txt").exists()


def test_a_rerun_replaces_the_artefact(attempt: Callable[..., str], sensitivity: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "x" / FILE
    for tau in (0.1, 0.2):
        assert (
            attempt("mask", "--sensitivity", sensitivity, "--settings", json.dumps({"tau": tau}), output=output) == ""
        )
    assert Artefact.open(output, "mask").manifest.settings == {"tau": 0.2}


def test_verify_names_the_damaged_artefact_and_no_other(
    run_script: Run, task_vectors: list[Path], flip_byte: Callable[[Path], None]
) -> None:
    results = task_vectors[0].parents[2]
    code, output, modules = run_script("verify", results)
    assert code == 0
    assert "3 artefacts verified" in output
    assert "torch" not in modules
    flip_byte(task_vectors[1].parent / "vector.zarr" / "c" / "0")
    code, output, _ = run_script("verify", results)
    assert code == 1
    assert f"{task_vectors[1].parent}: " in output
    assert "1 problem" in output
    assert "cars" not in output
    code, output, _ = run_script("verify", results / "nothing")
    assert code == 1
    assert "holds no artefacts" in output
