rule merge:
    """Merge the task vectors of the suite by one method."""
    input:
        unpack(inputs_of("merge")),
    output:
        manifest="results/merge/{name}/manifest.json",
        content=directory("results/merge/{name}/vector.zarr"),
    log:
        "logs/merge/{name}.log",
    benchmark:
        "results/benchmarks/merge/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: arithmetic_threads(4)
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        settings=settings_of("merge"),
        code=code_of("merge"),
    shell:
        command_of("merge")
