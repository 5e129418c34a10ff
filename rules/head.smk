rule head:
    """Make the zero-shot head of one task."""
    input:
        unpack(inputs_of("head")),
    output:
        manifest="results/head/{name}/manifest.json",
        content="results/head/{name}/head.safetensors",
    log:
        "logs/head/{name}.log",
    benchmark:
        "results/benchmarks/head/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings_of("head"),
        code=code_of("head"),
    shell:
        command_of("head")
