# For the description of Snakemake's report, which knows no more than the configuration. The page itself is not put into
# that report: browsers refuse to show embedded pages of more than 2 MB.
config["report_page"] = plan.report.content


rule report:
    """Make the report: one page with everything to look at, for any browser, without a network."""
    input:
        table=plan.table.manifest,
        figures=plan.figures.manifest,
        references=[p.manifest for p in plan.report.inputs["references"]],
        merges=[p.manifest for p in plan.report.inputs["merges"]],
        heads=[p.manifest for p in plan.report.inputs["heads"]],
    output:
        manifest=plan.report.manifest,
        page=plan.report.content,
    log:
        f"logs/report/{plan.report.name}.log",
    benchmark:
        f"results/benchmarks/report/{plan.report.name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        # Not part of the report's name: what only reads otherwise renews it in place.
        settings=lambda wildcards: canonical(plan.report_settings),
        code=plan.report.code,
    shell:
        command_of("report")
