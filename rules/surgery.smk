rule surgery:
    """Train the modules that correct a merged model's features, one per task."""
    input:
        unpack(inputs_of("surgery")),
    output:
        manifest="results/surgery/{name}/manifest.json",
        content="results/surgery/{name}/surgery.safetensors",
    log:
        "logs/surgery/{name}.log",
    benchmark:
        "results/benchmarks/surgery/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=6000,
        runtime=60,
        gpu=1,
    params:
        settings=settings_of("surgery"),
        code=code_of("surgery"),
    shell:
        command_of("surgery")
