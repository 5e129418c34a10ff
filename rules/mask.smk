rule mask:
    """Mask the trust region: all but the τ most sensitive parameters."""
    input:
        unpack(inputs_of("mask")),
    output:
        manifest="results/mask/{name}/manifest.json",
        content=directory("results/mask/{name}/vector.zarr"),
    log:
        "logs/mask/{name}.log",
    benchmark:
        "results/benchmarks/mask/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: arithmetic_threads(1)
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        settings=settings_of("mask"),
        code=code_of("mask"),
    shell:
        command_of("mask")
