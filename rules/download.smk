rule download:
    """Download a data set or a model's weights; runs where snakemake runs, since a cluster's nodes may lack the network."""
    output:
        manifest="results/download/{name}/manifest.json",
        content=directory("results/download/{name}/files"),
    log:
        "logs/download/{name}.log",
    benchmark:
        "results/benchmarks/download/{name}.tsv"
    localrule: True
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=240,
    params:
        # Not the code: what others published is not downloaded again because this project changed.
        settings=settings_of("download"),
    shell:
        command_of("download")
