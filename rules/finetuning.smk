rule finetuning:
    """Fine-tune the image encoder on one task, or on all in turn (traditional multi-task learning)."""
    input:
        unpack(inputs_of("finetuning")),
    output:
        manifest="results/finetuning/{name}/manifest.json",
        content="results/finetuning/{name}/encoder.safetensors",
    log:
        "logs/finetuning/{name}.log",
    benchmark:
        "results/benchmarks/finetuning/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=1,
    params:
        settings=settings_of("finetuning"),
        code=code_of("finetuning"),
    shell:
        command_of("finetuning")
