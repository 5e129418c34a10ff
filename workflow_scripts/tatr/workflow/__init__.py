"""What Snakemake plans and runs: artefacts, steps, code digests, the plan. The top floor."""
