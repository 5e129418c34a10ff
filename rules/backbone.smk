rule backbone:
    """Take over the pre-trained CLIP model."""
    input:
        # By its digest, not its time: checking out the repository again must not start everything anew.
        weights=ancient(str(plan.backbone / "model.safetensors")),
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
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings_of("backbone"),
        code=code_of("backbone"),
    shell:
        "tatr backbone --file {input.weights} --settings {params.settings:q} --code {params.code} --output {output.manifest} --threads {threads} --log {log}"
