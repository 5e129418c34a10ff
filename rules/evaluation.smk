rule evaluation:
    """Evaluate one model on its tasks, choosing λ and τ on validation if asked to."""
    input:
        unpack(inputs_of("evaluation")),
    output:
        manifest="results/evaluation/{name}/manifest.json",
        content="results/evaluation/{name}/scores.json",
    log:
        "logs/evaluation/{name}.log",
    benchmark:
        "results/benchmarks/evaluation/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: 1
    resources:
        mem_mb=6000,
        runtime=60,
        gpu=1,
    params:
        settings=settings_of("evaluation"),
        code=code_of("evaluation"),
    shell:
        command_of("evaluation")
