rule landscape:
    """Measure losses on the plane of the components of merged task vectors."""
    input:
        unpack(inputs_of("landscape")),
    output:
        manifest="results/landscape/{name}/manifest.json",
        content="results/landscape/{name}/losses.csv",
    log:
        "logs/landscape/{name}.log",
    benchmark:
        "results/benchmarks/landscape/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
        gpu=1,
    params:
        settings=settings_of("landscape"),
        code=code_of("landscape"),
    shell:
        command_of("landscape")
