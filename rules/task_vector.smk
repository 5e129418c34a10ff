rule task_vector:
    """Subtract the pre-trained encoder from one fine-tuned encoder."""
    input:
        unpack(inputs_of("task_vector")),
    output:
        manifest="results/task_vector/{name}/manifest.json",
        content=directory("results/task_vector/{name}/vector.zarr"),
    log:
        "logs/task_vector/{name}.log",
    benchmark:
        "results/benchmarks/task_vector/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: arithmetic_threads(2)
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        settings=settings_of("task_vector"),
        code=code_of("task_vector"),
    shell:
        command_of("task_vector")
