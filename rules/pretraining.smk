if plan.pretrain:

    rule pretraining:
        """Pre-train the backbone again from its recipe (tiny-clip: under an hour on two cores)."""
        output:
            manifest=plan.pretrain.manifest,
            content=plan.pretrain.content,
        log:
            f"logs/pretraining/{plan.pretrain.name}.log",
        benchmark:
            f"results/benchmarks/pretraining/{plan.pretrain.name}.tsv"
        conda:
            "../envs/tatr.yaml"
        threads: 2
        resources:
            mem_mb=6000,
            runtime=120,
        params:
            settings=canonical(plan.pretrain.settings),
            code=plan.pretrain.code,
        shell:
            "tatr pretraining --settings {params.settings:q} --code {params.code} --output {output.manifest} --threads {threads} --log {log}"
