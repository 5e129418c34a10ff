rule evaluate:
    """Evaluate one model on its tasks, choosing λ and τ on validation if asked to."""
    input:
        unpack(inputs_of("evaluate")),
    output:
        manifest="results/evaluate/{name}/manifest.json",
        content="results/evaluate/{name}/scores.json",
    log:
        "logs/evaluate/{name}.log",
    benchmark:
        "results/benchmarks/evaluate/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=6000,
        runtime=60,
        gpu=1,
    params:
        settings=settings_of("evaluate"),
        code=code_of("evaluate"),
    shell:
        "tatr evaluate --pretrained {input.pretrained} --directions {input.directions} --surgery {input.surgery} --heads {input.heads} --images {input.images} --settings {params.settings:q} --code {params.code} --output {output.manifest} --threads {threads} --log {log}"
