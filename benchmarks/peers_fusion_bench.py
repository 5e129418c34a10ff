r"""Merges safetensors files by one of fusion-bench's algorithms: what peers.py starts, as no command of it does this.

It is given each model as a module whose parameters are the file's, loaded when it asks, which costs the least.

example: python benchmarks/peers_fusion_bench.py method.task_arithmetic.task_arithmetic.TaskArithmeticAlgorithm \
             '{"scaling_factor": 0.3}' merged.safetensors base.safetensors task1.safetensors task2.safetensors
"""

import importlib
import json
import os
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import nn

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # it imports libraries that could fetch something

from fusion_bench.modelpool import BaseModelPool
from lightning import Fabric


class Files(BaseModelPool):
    """A pool of models that are loaded from their files."""

    def load_model(self, model_name_or_config: str, *_: object, **__: object) -> nn.Module:
        """The module of a name."""
        root = nn.Module()
        for name, tensor in load_file(self._models[model_name_or_config]["path"]).items():
            *path, last = name.split(".")
            place = root
            for part in path:
                if part not in dict(place.named_children()):
                    place.add_module(part, nn.Module())
                place = place.get_submodule(part)
            place.register_parameter(last, nn.Parameter(tensor))
        return root


def main() -> None:
    module, _, name = sys.argv[1].rpartition(".")
    settings, output, base = json.loads(sys.argv[2]), sys.argv[3], sys.argv[4]
    algorithm = getattr(importlib.import_module(f"fusion_bench.{module}"), name)(**settings)
    algorithm._fabric_instance = Fabric(accelerator="cpu", devices=1)  # where it would look for a GPU
    models = {Path(path).stem: {"path": path} for path in sys.argv[5:]}
    merged = algorithm.run(Files({"_pretrained_": {"path": base}, **models}))
    save_file({key: tensor.detach().contiguous() for key, tensor in merged.state_dict().items()}, output)


if __name__ == "__main__":
    main()
