if plan.sanity:

    rule sanity:
        """Compare the individual models' accuracies with what is expected of them."""
        input:
            evaluations=[p.manifest for p in plan.sanity.inputs["evaluations"]],
            contents=[ancient(p.content) for p in plan.sanity.inputs["evaluations"]],
        output:
            manifest=plan.sanity.manifest,
            content=plan.sanity.content,
            csv=f"{plan.sanity.folder}/sanity.csv",
            page=report(
                f"{plan.sanity.folder}/sanity.html",
                caption="../docs/report/captions/sanity.rst",
                category="Warnings",
                labels={"table": "individual models", "run": plan.config.name},
            ),
        log:
            f"logs/sanity/{plan.sanity.name}.log",
        benchmark:
            f"results/benchmarks/sanity/{plan.sanity.name}.tsv"
        conda:
            "../envs/tatr.yaml"
        threads: 1
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            settings=lambda wildcards: canonical(plan.sanity.settings),
            code=plan.sanity.code,
        shell:
            command_of("sanity")

else:

    rule sanity:
        input:
            refused("sanity: this configuration expects nothing of its individual models; give it the section `sanity`"),
