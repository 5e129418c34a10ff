rule backbone:
    """Convert the pre-trained CLIP model to the project's form."""
    input:
        unpack(inputs_of("backbone")),
    output:
        manifest="results/backbone/{name}/manifest.json",
        content="results/backbone/{name}/encoder.safetensors",
    log:
        "logs/backbone/{name}.log",
    benchmark:
        "results/benchmarks/backbone/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=6000,
        runtime=30,
    params:
        # The weights are no input: their digest is among these, so neither their time (a new checkout) nor their
        # place (a moved one) matters.
        settings=settings_of("backbone"),
        code=code_of("backbone"),
    shell:
        command_of("backbone", '${{WEIGHTS:+--file "$WEIGHTS"}}')
