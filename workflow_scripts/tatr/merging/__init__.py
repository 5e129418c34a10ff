"""The paper: sensitivity, trust region, merging methods. No torch on this floor."""
