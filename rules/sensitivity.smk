rule sensitivity:
    """Sum up how sensitive each parameter is to the other tasks' updates."""
    input:
        unpack(inputs_of("sensitivity")),
    output:
        manifest="results/sensitivity/{name}/manifest.json",
        content=directory("results/sensitivity/{name}/vector.zarr"),
    log:
        "logs/sensitivity/{name}.log",
    benchmark:
        "results/benchmarks/sensitivity/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: arithmetic_threads(4)
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        settings=settings_of("sensitivity"),
        code=code_of("sensitivity"),
    shell:
        command_of("sensitivity")
