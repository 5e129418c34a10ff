"""What people see of a run: its plan, its progress, what went wrong, and where everything is.

Snakemake reports what it does as records of Python's logging. `messages` tells them in few words on the terminal; in
full they are in Snakemake's own log, `.snakemake/log/`.
"""
