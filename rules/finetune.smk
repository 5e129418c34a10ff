rule finetune:
    """Fine-tune the image encoder on one task, or on all in turn (traditional multi-task learning)."""
    input:
        unpack(inputs_of("finetune")),
    output:
        manifest="results/finetune/{name}/manifest.json",
        content="results/finetune/{name}/encoder.safetensors",
    log:
        "logs/finetune/{name}.log",
    benchmark:
        "results/benchmarks/finetune/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=1,
    params:
        settings=settings_of("finetune"),
        code=code_of("finetune"),
    shell:
        "tatr finetune --pretrained {input.pretrained} --head {input.head} --images {input.images} --settings {params.settings:q} --code {params.code} --output {output.manifest} --threads {threads} --log {log}"
