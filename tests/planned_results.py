"""Results of a configuration, made by hand: manifests as its jobs would write them, and no content worth the name."""

from collections.abc import Mapping
from pathlib import Path

from tatr.attempts import Attempt
from tatr.workflow.artefact import FILE, Artefact, Manifest, build, inputs_of
from tatr.workflow.lineage import settings_of
from tatr.workflow.plan import Plan, Planned

NUMBERS = "content.bin"


def make_results(plan: Plan, folder: Path) -> dict[tuple[str, str], Artefact]:
    """Make what a plan asks for, but for exports and the pre-training, in `folder`/results, each with a record."""
    made: dict[tuple[str, str], Artefact] = {}

    def make(planned: Planned) -> Artefact:
        key = (planned.kind, planned.name)
        if key not in made:
            inputs = {role: [make(given) for given in group] for role, group in planned.inputs.items()}
            made[key] = make_artefact(plan, planned, folder, inputs)
        return made[key]

    for planned in plan.values():
        if planned.kind not in ("export", "pretraining"):
            make(planned)
    return made


def make_artefact(plan: Plan, planned: Planned, folder: Path, inputs: Mapping[str, list[Artefact]]) -> Artefact:
    """One of them, of 1000 bytes."""

    def write(attempt: Attempt) -> Manifest:
        (attempt.folder / NUMBERS).write_bytes(bytes(1000))
        settings, content = dict(settings_of(planned, plan)), {NUMBERS: planned.name}
        return Manifest(planned.kind, planned.name, settings, inputs_of(inputs), planned.code, "cpu", content)

    target = folder / planned.folder
    manifest = build(target, write)
    record = folder / f"results/benchmarks/{planned.kind}/{planned.name}.tsv"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text("s\tmax_rss\tio_in\n12.5\t34.0\t1.0\n")
    assert (target / FILE).is_file()
    return Artefact(target, manifest)
