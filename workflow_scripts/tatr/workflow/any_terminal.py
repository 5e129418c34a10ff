"""Text on terminals of any encoding: what one can't show is spelt in ASCII, where it would end a command otherwise."""

import codecs
import sys
import unicodedata
from io import TextIOWrapper

SPELT = {
    **{"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "θ": "theta", "κ": "kappa"},
    **{"λ": "lambda", "μ": "mu", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "ω": "omega"},
    **{"Δ": "Delta", "Σ": "Sum", "Ω": "Omega", "Π": "Product", "∇": "grad ", "∂": "d", "∞": "infinity", "√": "sqrt "},
    **{"·": "*", "×": "x", "⊙": "*", "⊗": "x", "−": "-", "±": "+/-", "÷": "/", "‖": "||", "∈": "in", "ᵀ": "^T"},
    **{"≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "→": "->", "←": "<-", "↔": "<->", "⇒": "=>"},
    **{"…": "...", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'},
    **{"⌊": "floor(", "⌋": ")", "⌈": "ceil(", "⌉": ")", "│": "|", "─": "-", "█": "#", "✓": "yes", "•": "*"},
    **{"⟨": "<", "⟩": ">", "⊥": "perp", "↦": "->", "∩": "and", "∪": "or", "⁺": "+", "⁻": "-", "§": "section "},
    **{"⚠": "!", "†": "+", "‡": "++", "★": "*", "☆": "*", "\u0302": "^", "\u0303": "~", "\u0304": "_mean"},
    **{"Λ": "Lambda", "Ŝ": "S^", "\u00a0": " "},
}
"""Signs in our messages, as people type them."""


def spell_what_can_not_be_shown() -> None:
    """Let this process's output spell what its encoding lacks."""
    codecs.register_error("tatr.spelt", _spelt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # else it is a test's, or a notebook's
            stream.reconfigure(errors="tatr.spelt")


def _spelt(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_sign(sign) for sign in signs), error.end


def _sign(sign: str) -> str:
    if sign in SPELT:
        return SPELT[sign]
    if unicodedata.category(sign) == "No":  # ² and ₁
        return unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return sign.encode("ascii", "backslashreplace").decode()
