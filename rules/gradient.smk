rule gradient:
    """Measure the absolute gradients of one task at the pre-trained encoder, for all numbers of exemplars at once."""
    input:
        unpack(inputs_of("gradient")),
    output:
        manifest="results/gradient/{name}/manifest.json",
        content=directory("results/gradient/{name}/means"),
    log:
        "logs/gradient/{name}.log",
    benchmark:
        "results/benchmarks/gradient/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=6000,
        runtime=60,
        gpu=1,
    params:
        settings=settings_of("gradient"),
        code=code_of("gradient"),
    shell:
        command_of("gradient")
