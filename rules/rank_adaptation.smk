rule rank_adaptation:
    """Learn which singular components of a merge stay, and its coefficients, on unlabelled images."""
    input:
        unpack(inputs_of("rank_adaptation")),
    output:
        manifest="results/rank_adaptation/{name}/manifest.json",
        content="results/rank_adaptation/{name}/coefficients.json",
    log:
        "logs/rank_adaptation/{name}.log",
    benchmark:
        "results/benchmarks/rank_adaptation/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=720,
        gpu=1,
    params:
        settings=settings_of("rank_adaptation"),
        code=code_of("rank_adaptation"),
    shell:
        command_of("rank_adaptation")
