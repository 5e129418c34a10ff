"""A second seed, in a run of the tiny configuration."""

from pathlib import Path

import pandas as pd
import yaml
from checkout import Checkout, successful
from jobs import TABLE, TASKS, fine_tuned, gradients


def test_a_second_seed_adds_its_own_results_and_columns(copied: Checkout, tiny_config: str, tmp_path: Path) -> None:
    config = yaml.safe_load(tiny_config) | {"name": "both", "seeds": [0, 1]}
    changed = copied.with_config(tmp_path / "both.yaml", yaml.safe_dump(config))
    before = copied.manifests()

    shown = successful(changed.snakemake("demo"))

    assert "±" in shown
    assert "per_seed.csv" in shown
    added = [Path(path).parent for path in copied.manifests().keys() - before.keys()]
    of_seed = (fine_tuned(*TASKS) | gradients(*TASKS)) - TABLE
    assert {f"{folder.parent.name}:{folder.name[:-13]}" for folder in added} == of_seed | {
        "tables:both",
        "figures:both",
        "report:both",
    }
    assert changed.dry_run() == copied.dry_run() == set()

    (first,) = (pd.read_csv(path) for path in changed.results.glob("tables/tiny-*/methods.csv"))
    (each,) = (pd.read_csv(path) for path in changed.results.glob("tables/both-*/per_seed.csv"))
    assert each["seed"].tolist() == 6 * [0, 1]
    alone, other = (each[each["seed"] == seed].drop(columns="seed").reset_index(drop=True) for seed in (0, 1))
    pd.testing.assert_frame_equal(alone, first, check_dtype=False)
    assert (other["average"] != first["average"]).any()
