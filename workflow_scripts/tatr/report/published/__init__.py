"""What others publish of CLIP models as data: three sets of fine-tuned models, and averages of merging methods."""
