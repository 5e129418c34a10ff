"""What learns: fine-tuning, AdaMerging's coefficients, surgery's modules, pre-training."""
