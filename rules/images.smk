rule images:
    """Decode (or draw) the images of one task."""
    input:
        unpack(inputs_of("images")),
    output:
        manifest="results/images/{name}/manifest.json",
        content=directory("results/images/{name}/images.zarr"),
    log:
        "logs/images/{name}.log",
    benchmark:
        "results/benchmarks/images/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    # Drawing is no work for several; decoding is.
    threads: lambda wildcards: 1 if planned("images", wildcards).settings["source"] == "tiny8" else 4
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        settings=settings_of("images"),
        code=code_of("images"),
    shell:
        command_of("images")
