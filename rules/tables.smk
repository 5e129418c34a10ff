rule tables:
    """Gather all scores into the methods table (CSV and Markdown), what was tried on validation, published figures."""
    input:
        references=[p.manifest for p in plan.table.inputs["references"]],
        merges=[p.manifest for p in plan.table.inputs["merges"]],
        task_vectors=[p.manifest for p in plan.table.inputs["task_vectors"]],
        sanity=[p.manifest for p in plan.table.inputs["sanity"]],
    output:
        manifest=plan.table.manifest,
        csv=plan.table.content,
        markdown=f"{plan.table.folder}/methods.md",
        page=report(
            f"{plan.table.folder}/methods.html",
            caption="../docs/report/captions/table.rst",
            category="Tables",
            labels={"table": "methods", "run": plan.config.name},
        ),
        search=f"{plan.table.folder}/search.csv",
        search_page=report(
            f"{plan.table.folder}/search.html",
            caption="../docs/report/captions/search.rst",
            category="Tables",
            labels={"table": "tried on validation", "run": plan.config.name},
        ),
        per_seed=[f"{plan.table.folder}/per_seed.csv"] if "seeds" in plan.table_settings else [],
        paper=(
            [f"{plan.table.folder}/paper.csv", f"{plan.table.folder}/paper.md"]
            if "paper" in plan.table_settings
            else []
        ),
        paper_page=(
            [
                report(
                    f"{plan.table.folder}/paper.html",
                    caption="../docs/report/captions/paper.rst",
                    category="Tables",
                    labels={"table": "the paper next to this run", "run": plan.config.name},
                )
            ]
            if "paper" in plan.table_settings
            else []
        ),
        published=(
            [f"{plan.table.folder}/published.csv", f"{plan.table.folder}/published.md"]
            if "published" in plan.table_settings
            else []
        ),
        published_page=(
            [
                report(
                    f"{plan.table.folder}/published.html",
                    caption="../docs/report/captions/published.rst",
                    category="Tables",
                    labels={"table": "published averages next to this run", "run": plan.config.name},
                )
            ]
            if "published" in plan.table_settings
            else []
        ),
    log:
        f"logs/tables/{plan.table.name}.log",
    benchmark:
        f"results/benchmarks/tables/{plan.table.name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        # Not part of the table's name: new display names renew it in place.
        settings=lambda wildcards: canonical(plan.table_settings),
        code=plan.table.code,
    shell:
        command_of("tables")
