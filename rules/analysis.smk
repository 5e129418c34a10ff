rule analysis:
    """Look at what the run made, as one of the analyses that the configuration asks for."""
    input:
        unpack(inputs_of("analysis")),
    output:
        manifest="results/analysis/{name}/manifest.json",
        content="results/analysis/{name}/table.csv",
    log:
        "logs/analysis/{name}.log",
    benchmark:
        "results/benchmarks/analysis/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: arithmetic_threads(4)
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        settings=settings_of("analysis"),
        code=code_of("analysis"),
    shell:
        command_of("analysis")
