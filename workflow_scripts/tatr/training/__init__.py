"""What learns: fine-tuning, AdaMerging's coefficients, AdaRank's components, surgery's modules, pre-training."""
