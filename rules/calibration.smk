rule calibration:
    """Calibrate the singular values of a merge's direction, times λ."""
    input:
        unpack(inputs_of("calibration")),
    output:
        manifest="results/calibration/{name}/manifest.json",
        content=directory("results/calibration/{name}/vector.zarr"),
    log:
        "logs/calibration/{name}.log",
    benchmark:
        "results/benchmarks/calibration/{name}.tsv"
    conda:
        "../envs/tatr.yaml"
    threads: arithmetic_threads(4)
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        settings=settings_of("calibration"),
        code=code_of("calibration"),
    shell:
        command_of("calibration")
