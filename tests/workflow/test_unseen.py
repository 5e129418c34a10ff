"""Tasks that are evaluated but not merged, in a run of the tiny configuration."""

from pathlib import Path

import pandas as pd
import yaml
from checkout import Checkout
from jobs import EVALUATED, PRETRAINED

from tatr.report.tables import UNSEEN_AVERAGE


def table_of(checkout: Checkout, text: str, file: str) -> pd.DataFrame:
    """A file of the newest table."""
    (path,) = checkout.results.glob(f"tables/{text}-*/{file}")
    return pd.read_csv(path)


def test_unseen_tasks_have_columns_and_change_nothing_else(copied: Checkout, tiny_config: str, tmp_path: Path) -> None:
    config = yaml.safe_load(tiny_config)
    config |= {"name": "unseen", "unseen": ["scenes"]}
    config["tasks"]["scenes"] = {"train": 64, "validation": 30, "test": 40}
    changed = copied.with_config(tmp_path / "unseen.yaml", yaml.safe_dump(config))

    tables = {f"{kind}:unseen" for kind in ("tables", "figures", "report")}
    evaluated = {job for job in EVALUATED | PRETRAINED if job.startswith("evaluation:")}
    assert changed.run("demo") == {"images:scenes", "head:scenes"} | evaluated | tables
    assert copied.dry_run() == set(), "the run without them is as it was"

    before, after = (table_of(copied, name, "methods.csv") for name in ("tiny", "unseen"))
    pd.testing.assert_frame_equal(after[before.columns], before)
    assert after["scenes"].isna().tolist() == [False, True, False, False, False, False]
    assert after["scenes"].equals(after[UNSEEN_AVERAGE].rename("scenes"))
    tried = [table_of(copied, name, "search.csv") for name in ("tiny", "unseen")]
    pd.testing.assert_frame_equal(*tried)
