rule checkpoint:
    """Import an encoder that was fine-tuned elsewhere."""
    input:
        unpack(inputs_of("checkpoint")),
    output:
        manifest="results/checkpoint/{name}/manifest.json",
        content="results/checkpoint/{name}/encoder.safetensors",
    log:
        "logs/checkpoint/{name}.log",
    benchmark:
        "results/benchmarks/checkpoint/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        # A file on disk is no input: its fingerprint is among these, so that neither its time nor its place matters.
        settings=settings_of("checkpoint"),
        code=code_of("checkpoint"),
    shell:
        command_of("checkpoint")
