rule figures:
    """Draw the methods table, and the analyses that the configuration asks for."""
    input:
        table=plan.table.manifest,
        analyses=[p.manifest for p in plan.figures.inputs["analyses"]],
    output:
        manifest=plan.figures.manifest,
        png=report(
            plan.figures.content,
            caption="../docs/report/captions/figure.rst",
            category="Figures",
            labels={"figure": "methods", "run": plan.config.name},
        ),
        svg=f"{plan.figures.folder}/methods.svg",
        analyses=[
            report(
                f"{plan.figures.folder}/{name}.png",
                caption="../docs/report/captions/analysis.rst",
                category="Figures",
                labels={"figure": name.replace("_", " "), "run": plan.config.name},
            )
            for name in plan.analyses
        ],
        page=[f"{plan.figures.folder}/analyses.md"] if plan.analyses else [],
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
        settings=lambda wildcards: canonical(plan.figure_settings),
        code=plan.figures.code,
    shell:
        command_of("figures")
