if plan.pretraining:

    rule pretraining:
        """Pre-train the backbone again from its recipe (tiny-clip: under an hour on two cores)."""
        output:
            manifest=plan.pretraining.manifest,
            content=plan.pretraining.content,
        log:
            f"logs/pretraining/{plan.pretraining.name}.log",
        benchmark:
            f"results/benchmarks/pretraining/{plan.pretraining.name}.tsv"
        conda:
            "../envs/tatr.yaml"
        threads: 2
        resources:
            mem_mb=6000,
            runtime=120,
        params:
            settings=lambda wildcards: canonical(plan.pretraining.settings),
            code=plan.pretraining.code,
        shell:
            command_of("pretraining")
