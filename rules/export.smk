rule export:
    """Write one merged model as a folder that open_clip loads, with its model card."""
    input:
        unpack(inputs_of("export")),
    output:
        manifest="results/export/{name}/manifest.json",
        content="results/export/{name}/open_clip_model.safetensors",
    log:
        "logs/export/{name}.log",
    benchmark:
        "results/benchmarks/export/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: arithmetic_threads(2)
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        settings=settings_of("export"),
        code=code_of("export"),
    shell:
        command_of("export")
