# What `__init__.py` loads on first use, for type checkers. (Imports in the module itself, even under TYPE_CHECKING,
# would make the code digest of every step cover these modules.)
from tatr.errors import TatrError as TatrError
from tatr.measuring.gradient import mean_absolute_gradient as mean_absolute_gradient
from tatr.merging.given_models.file_merge import merge_files as merge_files
from tatr.merging.given_models.state_dicts import merge as merge

__all__ = ["TatrError", "__version__", "mean_absolute_gradient", "merge", "merge_files"]

__version__: str
