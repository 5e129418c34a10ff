"""The demo's table over several seeds: runs the workflow once per seed, prints mean ± standard deviation as Markdown.

The seed is that of fine-tuning (batches, crops) and of the exemplars; the benchmark's images and its pre-trained
model stay the same. Finished runs are not repeated.

example: python benchmarks/seeds.py --seeds 0 1 2 --cores 2
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_scripts"))

from tatr.report.markdown import table as markdown_table
from tatr.report.tables import accuracies, load_table

BASE = Path(__file__).resolve().parent.parent


def table_of(seed: int, config: Path, cores: int) -> pd.DataFrame:
    """Run one seed and read its table: rows are methods, columns tasks, their average and more."""
    name = f"{config.stem}_seed_{seed}"
    command = [sys.executable, "-m", "snakemake", "-s", BASE / "Snakefile", "--configfile", config, "--cores", cores]
    command += ["--quiet", "rules", "progress", "--config", f"seed={seed}", f"name={name}", "--", "tables"]
    subprocess.run([*map(str, command)], check=True)
    # Older tables may have the same name; the newest is this run's.
    tables = sorted(Path("results/tables").glob(f"{name}-*/methods.csv"), key=lambda path: path.stat().st_mtime)
    return load_table(tables[-1])


def summary(tables: list[pd.DataFrame]) -> str:
    """Mean ± sample standard deviation per cell, rows in the tables' order."""
    joined = accuracies(pd.concat(tables)).groupby(level=0, sort=False)
    mean, deviation = joined.mean(), joined.std()
    chosen = pd.concat(tables)["coefficient"].groupby(level=0, sort=False).agg(lambda values: sorted(set(values)))
    lines = [["Method", *mean.columns, "λ"]]
    for name in mean.index:
        cells = [f"{m:.1f} ± {d:.1f}" for m, d in zip(mean.loc[name], deviation.loc[name], strict=True)]
        lines.append([str(name), *cells, ", ".join(f"{value:g}" for value in chosen[name] if value == value)])
    return markdown_table(lines, "l" + "r" * (len(lines[0]) - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--config", type=Path, default=BASE / "config/demo.yaml")
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    tables = [table_of(seed, arguments.config, arguments.cores) for seed in arguments.seeds]
    print(summary(tables))


if __name__ == "__main__":
    main()
