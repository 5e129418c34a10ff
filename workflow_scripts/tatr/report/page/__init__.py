"""The report: one self-contained page about a run, for any browser, without a network."""
