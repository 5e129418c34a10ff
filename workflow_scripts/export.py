"""Write θ_pre + λ·v as a folder that open_clip loads, with a model card; λ and τ are those that an evaluation chose."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    import json
    import shutil

    from tatr.report.export import CONFIG, WEIGHTS, Source, chosen, model_card, open_clip_config, write_weights
    from tatr.vectors.layout import Layout
    from tatr.vectors.store import open_vectors
    from tatr.weights.encoder_file import Checkpoint
    from tatr.weights.safetensors_file import SafetensorsFile

    pretrained, evaluation = job.one("backbone"), job.one("evaluation")
    scores = json.loads((evaluation / "scores.json").read_text())
    direction = chosen(job.inputs["directions"], scores, str(evaluation.folder))
    surgery = job.one("surgery") if job.inputs["surgery"] else None
    source = Source(pretrained, evaluation, direction, surgery)
    source.check()
    layout = Layout.load(pretrained / "layout.json")
    before = Checkpoint(pretrained / "encoder.safetensors", layout)
    (vector,) = open_vectors([direction / "vector.zarr"], layout.digest)
    text = SafetensorsFile(pretrained / "text.safetensors")
    write_weights(job.folder / WEIGHTS, before, vector, scores["coefficient"], layout, text)
    job.add_file(WEIGHTS)
    job.add_json(CONFIG, open_clip_config(json.loads((pretrained / "model.json").read_text())))
    (job.folder / "README.md").write_text(model_card(job.settings, scores, source), encoding="utf-8")
    job.add_file("README.md")
    if surgery:
        shutil.copyfile(surgery / "surgery.safetensors", job.folder / "surgery.safetensors")
        job.add_file("surgery.safetensors")


STEP = Step(
    run,
    kind="export",
    reads={"backbone": "backbone", "evaluation": "evaluation", "directions": "merge", "surgery": "surgery"},
    content="open_clip_model.safetensors",
    example="python workflow_scripts/export.py --backbone results/backbone/b/manifest.json "
    "--evaluation results/evaluation/tatr/manifest.json --directions results/merge/tatr/manifest.json "
    '--settings \'{"row": "TATR"}\' --output results/export/tatr/manifest.json',
)

if __name__ == "__main__":
    STEP.main()
