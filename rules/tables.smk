rule tables:
    """Gather all scores into the methods table (CSV and Markdown), and what was tried on validation."""
    input:
        references=[p.manifest for p in plan.table.inputs["references"]],
        merges=[p.manifest for p in plan.table.inputs["merges"]],
    output:
        manifest=plan.table.manifest,
        csv=report(
            plan.table.content,
            caption="../docs/captions/table.rst",
            category="Tables",
            labels={"table": "methods", "run": plan.config.name},
        ),
        markdown=f"{plan.table.folder}/methods.md",
        search=report(
            f"{plan.table.folder}/search.csv",
            caption="../docs/captions/search.rst",
            category="Tables",
            labels={"table": "tried on validation", "run": plan.config.name},
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
        settings=canonical(table_settings(plan)),
        code=plan.table.code,
    shell:
        "tatr tables --references {input.references} --merges {input.merges} --settings {params.settings:q} --code {params.code} --output {output.manifest} --threads {threads} --log {log}"
