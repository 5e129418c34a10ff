"""The targets that people name."""


localrules:
    demo,
    downloaded,
    finetuned,
    task_vectors,
    merged,
    evaluated,
    exported,
    links,
    tables,
    figures,
    report,
    verify,


rule demo:
    """Everything, and then the table on the terminal."""
    input:
        table=plan.table.manifest,
        figures=plan.figures.manifest,
        report=plan.report.manifest,
        links=linked("tables", "figures", "report"),
    log:
        "logs/demo.log",
    conda:
        "../envs/tatr.yaml"
    shell:
        "tatr show {input.table} 2> {log} && tatr costs {input.table} >> {log} 2>&1"


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
    """All merges, calibrated ones too, not evaluated."""
    input:
        [p.manifest for p in plan.of_kind("merge", "calibration")],


rule evaluated:
    """All evaluations, not tabulated."""
    input:
        [p.manifest for p in plan.of_kind("evaluation")],


rule exported:
    """Every merge as a checkpoint that open_clip loads, with a model card, in results/export."""
    input:
        [p.manifest for p in plan.exports],
        linked("export"),


rule links:
    """Lead from results/NAME to the newest artefacts of a kind."""
    input:
        # Only where they lead counts: what is made again under the same name is linked.
        lambda wildcards: [ancient(f"results/{folder}/manifest.json") for folder in LINKS[wildcards.kind].values()],
    output:
        f"results/{plan.config.name}/.{{kind}}",
    log:
        f"logs/links/{plan.config.name}_{{kind}}.log",
    wildcard_constraints:
        kind="|".join(LINKS),
    conda:
        "../envs/tatr.yaml"
    params:
        targets=lambda wildcards: canonical(LINKS[wildcards.kind]),
    shell:
        "tatr links --record {output} --targets {params.targets:q} 2> {log}"


rule verify:
    """Recompute the digests of everything under results/ and name what is missing or damaged."""
    log:
        "logs/verify.log",
    conda:
        "../envs/tatr.yaml"
    shell:
        "tatr verify results 2>&1 | tee {log}"
