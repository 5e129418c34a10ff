"""What whole runs show: in a terminal of 80 columns, without one, and in another environment."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

from checkout import Checkout, clean_environment, successful

WIDTH = 80


def in_a_terminal(checkout: Checkout, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run snakemake in a pseudo-terminal: its exit status, and all that it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
    sizes = ("COLUMNS", "LINES")
    inherited = {name: value for name, value in clean_environment().items() if name not in sizes}
    process = subprocess.Popen(
        checkout.command(*arguments),
        cwd=checkout.folder,
        env=inherited | {"TERM": "xterm-256color"} | environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            read = os.read(ours, 65536)
        except OSError:  # the other side is closed
            read = b""
        if not read:
            break
        written += read
    os.close(ours)
    return process.wait(timeout=60), written.decode().replace("\r\n", "\n")


def screen(written: str) -> list[str]:
    """The lines that stay on the screen, as a terminal would draw them: those that were wiped are gone."""
    lines, row, column = [""], 0, 0
    for escape, text in re.findall(r"(\x1b\[[?\d;]*[A-Za-z]|\r|\n)|([^\x1b\r\n]+)", written):
        if escape == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif escape == "\r":
            column = 0
        elif escape.endswith("A"):
            row -= 1
        elif escape.endswith("K"):
            lines[row] = ""
        elif text:
            lines[row] = f"{lines[row][:column]:<{column}}{text}{lines[row][column + len(text) :]}"
            column += len(text)
    return lines


def test_in_a_terminal_a_run_shows_progress_the_table_and_where_everything_is(
    copied: Checkout, tiny_config: str, tmp_path: Path
) -> None:
    changed = copied.with_config(
        tmp_path / "config.yaml", tiny_config.replace("coefficient: 0.3}", "coefficient: 0.2}")
    )

    status, written = in_a_terminal(changed, "demo", NO_COLOR="1")

    assert status == 0, written
    assert re.search(r"\d of 7 jobs, (?:about|at least) ", written), "live lines"
    assert not re.search(r"\x1b\[(?:\d+;)*3\d", written), "no colour"
    for snakemakes in ("Building DAG", "Job stats", "jobid", "Select jobs"):
        assert snakemakes not in written
    lines = screen(written)
    assert [line for line in lines if line.startswith("evaluation ") and " 1 job " in line]
    (heading,) = [line for line in lines if line.startswith("Test accuracy in %")]
    assert "average" in heading
    assert max(map(len, lines[lines.index(heading) :])) <= WIDTH
    (end,) = [at for at, line in enumerate(lines) if line.startswith("7 jobs done in ")]
    assert [line for line in lines[end:] if line.startswith("  report   results/report/tiny-")]
    assert [line for line in lines[end:] if line.startswith("  table    results/tables/tiny-")]
    assert [line for line in lines[end:] if line.startswith("  figures  results/figures/tiny-")]
    assert len(lines) < 50


def test_without_a_terminal_there_is_a_line_per_job(copied: Checkout, tiny_config: str, tmp_path: Path) -> None:
    changed = copied.with_config(tmp_path / "config.yaml", tiny_config.replace("name: tiny", "name: renamed"))

    done = changed.snakemake()

    successful(done)
    lines = [re.sub(r": [\d.]+ s$", ": SECONDS", line) for line in done.stderr.splitlines()]
    end = lines.index(next(line for line in lines if line.startswith("6 jobs done in ")))
    jobs = ("figures", "links figures", "links report", "links tables", "report", "tables")
    assert sorted(lines[1:end]) == [f"{job}: SECONDS" for job in jobs]
    assert lines[end + 1].startswith("  report   results/report/renamed-")
    assert lines[end + 2].startswith("  table    results/tables/renamed-")
    assert "\x1b" not in done.stderr
    assert "Building DAG" in max(changed.folder.glob(".snakemake/log/*"), key=lambda path: path.name).read_text()


def test_a_dry_run_is_a_plan_that_fits_a_screen(finished: Checkout, tmp_path: Path) -> None:
    anew = Checkout(finished.project, finished.config, tmp_path)

    lines = successful(anew.snakemake("--dry-run")).splitlines()

    assert [line.split()[:5] for line in lines if line.startswith(" finetuning")] == [
        ["finetuning", "3", "not", "made", "yet"]
    ]
    assert len(lines) <= 24
    again = successful(finished.snakemake("--dry-run", "--forceall"))
    assert re.search(r"finetuning +3 +asked for +3 × [\d.]+ s +\d", again)
    assert re.search(r"^33 jobs: .* of work, about .* on 2 cores; .* of disk", again, re.MULTILINE)


def test_snakemake_of_another_environment_is_told_of_ours_in_a_line(finished: Checkout, tmp_path: Path) -> None:
    without = "raise ModuleNotFoundError(\"No module named 'xxhash'\", name='xxhash')\n"
    (tmp_path / "xxhash.py").write_text(without)

    done = finished.snakemake("--dry-run", PYTHONPATH=str(tmp_path))

    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "has no package 'xxhash': this is the snakemake of another environment" in said
    assert f"source {finished.project}/.venv/bin/activate" in said
    assert "Traceback" not in said
