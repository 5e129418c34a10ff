rule images:
    """Decode (or draw) the images of one task."""
    output:
        manifest="results/images/{name}/manifest.json",
        content=directory("results/images/{name}/images.zarr"),
    log:
        "logs/images/{name}.log",
    benchmark:
        "results/benchmarks/images/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        settings=settings_of("images"),
        code=code_of("images"),
    shell:
        "tatr images --settings {params.settings:q} --code {params.code} --output {output.manifest} --threads {threads} --log {log}"
