rule adaptation:
    """Learn the coefficients of a merge on unlabelled images."""
    input:
        unpack(inputs_of("adaptation")),
    output:
        manifest="results/adaptation/{name}/manifest.json",
        content="results/adaptation/{name}/coefficients.json",
    log:
        "logs/adaptation/{name}.log",
    benchmark:
        "results/benchmarks/adaptation/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=1,
    params:
        settings=settings_of("adaptation"),
        code=code_of("adaptation"),
    shell:
        command_of("adaptation")
