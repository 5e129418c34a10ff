rule fetch:
    """Fetch a data set or a model's weights; runs where snakemake runs, since a cluster's nodes may lack the network."""
    output:
        manifest="results/fetch/{name}/manifest.json",
        content=directory("results/fetch/{name}/files"),
    log:
        "logs/fetch/{name}.log",
    benchmark:
        "results/benchmarks/fetch/{name}.tsv"
    localrule: True
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=240,
    params:
        # Not the code: what others published is not fetched again because this project changed.
        settings=settings_of("fetch"),
    shell:
        "tatr fetch --settings {params.settings:q} --output {output.manifest} --threads {threads} --log {log}"
