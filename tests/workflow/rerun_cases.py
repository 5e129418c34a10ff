"""What re-runs when something changes: the table that the tests prove and that docs/workflow/what-reruns.md shows."""

from analysis_cases import ANALYSIS_CASES
from config_cases import CONFIGURATION
from method_cases import METHOD_CASES
from other_cases import CODE, EXECUTION, FILES
from real_cases import REAL_CASES

SECTIONS = {
    "In the configuration": CONFIGURATION,
    "In the code": CODE,
    "In the files": FILES,
    "In how it is run": EXECUTION,
}
CASES = [case for cases in SECTIONS.values() for case in cases]

FURTHER = {
    "With methods that look at images": METHOD_CASES,
    "With analyses": ANALYSIS_CASES,
    "With models and images of your own": REAL_CASES,
}
"""Cases of other runs (tests/workflow/configs/methods.yaml and analyses.yaml; real_cases.bring)."""
