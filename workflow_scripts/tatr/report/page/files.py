"""The files that the page is made from beside code: its template, its style, its script."""

from pathlib import Path

from tatr.digests import ContentDigest

TEMPLATES = Path(__file__).parent / "templates"


def templates_digest() -> str:
    """Digest of these files, which the code's digest does not cover."""
    digest = ContentDigest()
    for path in sorted(TEMPLATES.iterdir()):
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()
