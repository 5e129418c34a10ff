rule merged_gram:
    """Measure the Gram matrices of all tasks through the encoder that they merge into."""
    input:
        unpack(inputs_of("merged_gram")),
    output:
        manifest="results/merged_gram/{name}/manifest.json",
        content=directory("results/merged_gram/{name}/vector.zarr"),
    log:
        "logs/merged_gram/{name}.log",
    benchmark:
        "results/benchmarks/merged_gram/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=6000,
        runtime=120,
        gpu=1,
    params:
        settings=settings_of("merged_gram"),
        code=code_of("merged_gram"),
    shell:
        command_of("merged_gram")
