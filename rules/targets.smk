"""The targets that people name."""


localrules:
    demo,
    downloaded,
    finetuned,
    task_vectors,
    merged,
    evaluated,
    exported,
    tables,
    figures,
    report,
    verify,


rule demo:
    """Everything, and then the table on the terminal, and what its rows cost."""
    input:
        table=plan.table.manifest,
        figure=plan.figures.content,
        report=plan.report.content,
    log:
        "logs/demo.log",
    conda:
        "../envs/tatr.yaml"
    shell:
        "tatr show {input.table} {input.report} {input.figure} 2> {log} && tatr costs {input.table} 2>> {log}"


rule downloaded:
    """All that comes from the network: data sets, weights, checkpoints. Runs where snakemake itself runs."""
    input:
        [p.manifest for p in plan.of_kind("download")],


rule finetuned:
    """The individual models of the suite, trained or imported."""
    input:
        [p.manifest for p in plan.of_kind("finetuning", "checkpoint")],


rule task_vectors:
    """The task vectors of the suite."""
    input:
        [p.manifest for p in plan.of_kind("task_vector")],


rule merged:
    """All merges, not evaluated."""
    input:
        [p.manifest for p in plan.of_kind("merge")],


rule evaluated:
    """All evaluations, not tabulated."""
    input:
        [p.manifest for p in plan.of_kind("evaluation")],


rule exported:
    """Every merge as a checkpoint that open_clip loads, with a model card, in results/export."""
    input:
        [p.manifest for p in plan.exports],


rule verify:
    """Recompute the digests of everything under results/ and name what is missing or damaged."""
    log:
        "logs/verify.log",
    conda:
        "../envs/tatr.yaml"
    shell:
        "tatr verify results 2>&1 | tee {log}"
