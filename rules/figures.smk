rule figures:
    """Draw the methods table."""
    input:
        table=plan.table.manifest,
    output:
        manifest=plan.figures.manifest,
        png=report(
            plan.figures.content,
            caption="../docs/report/captions/figure.rst",
            category="Figures",
            labels={"figure": "methods", "run": plan.config.name},
        ),
        svg=f"{plan.figures.folder}/methods.svg",
    log:
        f"logs/figures/{plan.figures.name}.log",
    benchmark:
        f"results/benchmarks/figures/{plan.figures.name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        # Not part of the figure's name: another style redraws it in place.
        settings=canonical(plan.figure_settings),
        code=plan.figures.code,
    shell:
        command_of("figures")
