"""What a file is that was given for one of weights: told by how it begins."""

import zipfile
from pathlib import Path

ENDINGS = (".safetensors", ".bin", ".pt", ".pth")
"""How files of weights end that are read as a CLIP model."""

_SAVE = "load it with the library that made it and save it as safetensors"
_AGAIN = "download, copy or make it again"
_UNPACK = "unpack it"
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"Rar!")
_POINTER = "not the file itself"

KINDS = {
    b"version https://git-lfs": f"only a pointer of Git LFS, {_POINTER}; run `git lfs pull` in its folder",
    b"/annex/objects/": f"only a pointer of git-annex, {_POINTER}; run `git annex get` for it",
    b"../.git/annex/objects/": f"only a pointer of git-annex, {_POINTER}; run `git annex get` for it",
    b"# xet version": f"only a pointer of Xet, {_POINTER}; run `git xet checkout` in its folder",
    b"outs:\n": f"only a pointer of DVC, {_POINTER}; run `dvc pull` for it",
    b"\0\5\x16\7": "what macOS keeps beside a file on other disks; give the file itself, which is called without `._`",
    b"\x80": f"a pickled file (as of torch.save); {_SAVE}",
    b"GGUF": "a GGUF file (llama.cpp), whose weights are made for inference; give the model it was made from",
    b"\x89HDF": f"an HDF5 file (Keras, TensorFlow); {_SAVE}",
    b"\x93NUMPY": f"a NumPy array; {_SAVE}",
    b"{": "a JSON text, not weights; give the file of weights, or the folder that holds them",
    **dict.fromkeys((b"<!doctype", b"<html", b"<?xml"), f"a web page, which came in place of the file; {_AGAIN}"),
    **dict.fromkeys(_PACKED, f"a compressed file; {_UNPACK}"),
}
"""How files begin that are no weights, or none that are read: what they are, and what to do about it. Pointers are
small text files that stand for large ones."""


def is_hidden(path: Path) -> bool:
    """Whether a file is no model's, whatever it ends in: macOS leaves a `._NAME` beside each NAME on other disks."""
    return path.name.startswith(".")


def known_kind(path: Path) -> str | None:
    """What a file that is no safetensors file is, and what to do about it, if its beginning tells.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        return f"an empty file; {_AGAIN}"
    if head[4:9] == b"\0\0\0\0{":
        return None  # the header of a safetensors file, whatever its length begins with
    if not any(head):
        return f"a file of zeros, as a download leaves that was interrupted; {_AGAIN}"
    if head.startswith(b"PK"):
        return _archive(path)
    if head[257:262] == b"ustar":
        return f"a tar archive; {_UNPACK}"
    start = head.lstrip().lower()
    return next((kind for magic, kind in KINDS.items() if head.startswith(magic) or start.startswith(magic)), None)


def _archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return f"a zip archive that is damaged or incomplete, as of torch.save; {_AGAIN}"
    if any(name.endswith("data.pkl") for name in names):
        return f"a pickled file of PyTorch (torch.save); {_SAVE}"
    if names and all(name.endswith(".npy") for name in names):
        return f"NumPy arrays (.npz); {_SAVE}"
    return f"a zip archive; {_UNPACK}"
