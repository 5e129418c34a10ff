rule fisher:
    """Measure the Fisher information of one task at its fine-tuned encoder."""
    input:
        unpack(inputs_of("fisher")),
    output:
        manifest="results/fisher/{name}/manifest.json",
        content=directory("results/fisher/{name}/vector.zarr"),
    log:
        "logs/fisher/{name}.log",
    benchmark:
        "results/benchmarks/fisher/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=6000,
        runtime=60,
        gpu=1,
    params:
        settings=settings_of("fisher"),
        code=code_of("fisher"),
    shell:
        command_of("fisher")
