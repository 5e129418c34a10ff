rule signed_gradient:
    """Measure the mean gradient of one task at the pre-trained encoder, with its signs."""
    input:
        unpack(inputs_of("signed_gradient")),
    output:
        manifest="results/signed_gradient/{name}/manifest.json",
        content=directory("results/signed_gradient/{name}/vector.zarr"),
    log:
        "logs/signed_gradient/{name}.log",
    benchmark:
        "results/benchmarks/signed_gradient/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=6000,
        runtime=60,
        gpu=1,
    params:
        settings=settings_of("signed_gradient"),
        code=code_of("signed_gradient"),
    shell:
        command_of("signed_gradient")
