rule gram:
    """Measure the input Gram matrices of one task at its fine-tuned encoder."""
    input:
        unpack(inputs_of("gram")),
    output:
        manifest="results/gram/{name}/manifest.json",
        content=directory("results/gram/{name}/vector.zarr"),
    log:
        "logs/gram/{name}.log",
    benchmark:
        "results/benchmarks/gram/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=6000,
        runtime=60,
        gpu=1,
    params:
        settings=settings_of("gram"),
        code=code_of("gram"),
    shell:
        command_of("gram")
