rule adapt:
    """Learn the coefficients of a merge on unlabelled images."""
    input:
        unpack(inputs_of("adapt")),
    output:
        manifest="results/adapt/{name}/manifest.json",
        content="results/adapt/{name}/coefficients.json",
    log:
        "logs/adapt/{name}.log",
    benchmark:
        "results/benchmarks/adapt/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=1,
    params:
        settings=settings_of("adapt"),
        code=code_of("adapt"),
    shell:
        "tatr adapt --pretrained {input.pretrained} --task-vectors {input.task_vectors} --mask {input.mask} --heads {input.heads} --images {input.images} --settings {params.settings:q} --code {params.code} --output {output.manifest} --threads {threads} --log {log}"
