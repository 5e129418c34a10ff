"""Downloads: data sets and weights of the Hugging Face Hub, and weights from an address.

Files are kept in a folder that survives a kill; those that are whole are not downloaded again.
"""

import errno
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import DatasetInfo, HfApi, ModelInfo, constants, errors, hf_hub_download

from tatr.data.parquet_names import split_files
from tatr.digests import published_digest
from tatr.errors import TatrError
from tatr.weights.file_kinds import ENDINGS

CONVERTED = "refs/convert/parquet"
"""The revision in which the Hub itself puts the Parquet files that it makes of a data set."""

WEIGHTS = (
    "open_clip_model.safetensors",
    "model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
)
"""Files of weights by which repositories are known; safetensors first, since they hold no code."""

PIECE = 2**20
logger = logging.getLogger("tatr")


@dataclass(frozen=True)
class Repository:
    """A repository at one commit: what it holds."""

    name: str
    kind: str
    """"dataset" or "model"."""
    commit: str
    files: Mapping[str, str | None]
    """Names, and the SHA-256 of those that the Hub knows it of."""


def download(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Download what the settings name into `folder`, keeping the files that are there already.

    Args:
        settings: one of
            {"dataset": "OWNER/NAME", "config": subset or None, "revision": or None, "train": split, "test": split}:
            the Parquet files of the two splits; those that the Hub made, if the data set itself has none;
            {"repository": "OWNER/NAME", "revision": or None}: a model's weights and its config files;
            {"open_clip": model name, "tag": pretrained tag}: the weights that open_clip names so.
        folder: is made if need be.

    Returns:
        What was downloaded and from where, with the "sha256" of every file by its name in `folder`.

    Raises:
        TatrError: there is no such thing, it needs a log-in, the network can't be reached, or a file came damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if "open_clip" in settings:
        return _download_open_clip(settings["open_clip"], settings["tag"], folder)
    if "dataset" in settings:
        repository, names = _find_splits(settings)
    else:
        repository = _look_up(settings["repository"], "model", settings["revision"])
        names = _choose_weights(repository)
    return _download_files(repository, names, folder)


def _find_splits(settings: Mapping[str, Any]) -> tuple[Repository, list[str]]:
    repository = _look_up(settings["dataset"], "dataset", settings["revision"])
    if settings["revision"] is None and not any(name.endswith(".parquet") for name in repository.files):
        repository = _look_up(settings["dataset"], "dataset", CONVERTED)
    names = dict.fromkeys(
        name
        for split in (settings["train"], settings["test"])
        for name in split_files(repository.files, settings["config"], split, settings["dataset"], "tasks.NAME")
    )
    return repository, list(names)


def _choose_weights(repository: Repository, wanted: str = "") -> list[str]:
    # The same weights may also be there as safetensors.
    ranking = (str(PurePosixPath(wanted).with_suffix(".safetensors")), wanted) if wanted else WEIGHTS
    candidates = [name for name in repository.files if name.endswith(ENDINGS)]
    known = [name for name in ranking if name in candidates]
    safe = [name for name in candidates if name.endswith(".safetensors")]
    weights = known[:1] or safe or candidates
    if len(weights) != 1:
        what = (
            f"several files of weights ({', '.join(weights[:4])}, …)" if weights else f"no weights ({wanted or 'any'})"
        )
        raise TatrError(f"{repository.name}: has {what}; download the file that you mean, and give its path instead")
    return weights + [name for name in ("config.json", "open_clip_config.json") if name in repository.files]


def _download_open_clip(model: str, tag: str, folder: Path) -> dict[str, Any]:
    from open_clip.pretrained import get_pretrained_cfg

    from tatr.clip.backbone import check_activation, of_tag
    from tatr.clip.model_configs import model_config

    # Before hundreds of megabytes are downloaded, not after.
    check_activation(model_config(model), of_tag(model, tag), model, tag)
    address = get_pretrained_cfg(model, tag)
    if address.get("hf_hub"):
        # OWNER/NAME/FILE, or OWNER/NAME/ for the usual file.
        name, _, wanted = address["hf_hub"].rpartition("/")
        repository = _look_up(name, "model", None)
        return _download_files(repository, _choose_weights(repository, wanted), folder)
    url = address["url"]
    digest = _download_url(url, folder / PurePosixPath(url).name, _stated_digest(url))
    return {"url": url, "sha256": {PurePosixPath(url).name: digest}}


def _stated_digest(url: str) -> str:
    """What the address says of the file's SHA-256: all of it (OpenAI), its start (open_clip), or nothing."""
    path = PurePosixPath(url)
    if "openaipublic" in url:
        return path.parent.name
    return path.stem.rpartition("-")[2] if "mlfoundations" in url else ""


def _look_up(name: str, kind: str, revision: str | None) -> Repository:
    with _explaining(f"{kind} {name}", revision):
        info = HfApi().repo_info(name, repo_type=kind, revision=revision, files_metadata=True, timeout=30)
    assert isinstance(info, ModelInfo | DatasetInfo)  # as the kind says
    files = {file.rfilename: file.lfs.sha256 if file.lfs else None for file in info.siblings or []}
    return Repository(name, kind, str(info.sha), files)


def _download_files(repository: Repository, names: Sequence[str], folder: Path) -> dict[str, Any]:
    # huggingface_hub starts an interrupted file again, under another name.
    for path in (folder / ".cache").rglob("*.incomplete"):
        path.unlink()
    digests = {}
    for number, name in enumerate(names, 1):
        logger.info("%s: %s (%d of %d)", repository.name, name, number, len(names))
        with _explaining(f"{repository.kind} {repository.name}", repository.commit):
            hf_hub_download(
                repository.name, name, repo_type=repository.kind, revision=repository.commit, local_dir=folder
            )
        digests[name] = _checked(folder / name, repository.files[name] or "", repository.name)
    return {
        "repository": repository.name,
        "type": repository.kind,
        "commit": repository.commit,
        "sha256": digests,
    }


def _download_url(url: str, path: Path, digest: str) -> str:
    # A finished file has its final name; the bytes already there of an unfinished one are not requested again.
    part = path.with_name(path.name + ".part")
    if not path.is_file():
        start = part.stat().st_size if part.is_file() else 0
        try:
            _append(url, part, start)
        except urllib.error.HTTPError as error:
            raise TatrError(f"{url}: the server answered {error.code} ({error.reason})") from error
        except OSError as error:
            raise _unreachable(url, error) from error
        part.rename(path)
    return _checked(path, digest, url)


def _append(url: str, part: Path, start: int) -> None:
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        with part.open("ab" if answer.status == 206 else "wb") as file:
            while piece := answer.read(PIECE):
                file.write(piece)
        expected = int(answer.headers.get("Content-Length") or 0) + (start if answer.status == 206 else 0)
    if expected and part.stat().st_size != expected:
        raise ConnectionError(f"it ended after {part.stat().st_size} of {expected} bytes")


def _checked(path: Path, expected: str, where: str) -> str:
    digest = published_digest(path)
    if not digest.startswith(expected):
        path.unlink()
        raise TatrError(f"{where}: {path.name} came damaged (SHA-256 {digest[:12]}…, not {expected[:12]}…); run again")
    return digest


@contextmanager
def _explaining(what: str, revision: str | None) -> Iterator[None]:
    """Say in one line what went wrong with the Hub."""
    login = "`hf auth login`, or HF_TOKEN"
    try:
        yield
    except errors.GatedRepoError as error:
        raise TatrError(f"{what}: you must accept its terms on its Hub page and log in ({login})") from error
    except errors.RepositoryNotFoundError as error:
        raise TatrError(f"{what}: not on the Hub, or private (then log in: {login})") from error
    except errors.RevisionNotFoundError as error:
        if revision == CONVERTED:
            raise TatrError(f"{what}: has no Parquet files, and the Hub has not converted it") from error
        raise TatrError(f"{what}: has no revision '{revision}'") from error
    except errors.HFValidationError as error:
        raise TatrError(f"{what}: not a name of the Hub ({_line(error)})") from error
    except errors.HfHubHTTPError as error:
        raise TatrError(f"{what}: {constants.ENDPOINT} refused ({_line(error)})") from error
    # Of the library that the Hub's client uses, another one in each of its major versions.
    except (errors.HTTPError, errors.LocalEntryNotFoundError, OSError) as error:  # type: ignore[attr-defined]
        raise _unreachable(what, error) from error


def _unreachable(what: str, error: Exception) -> Exception:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return error
    return TatrError(
        f"{what}: can't be downloaded ({_line(error.__cause__ or error)}); this step needs the network, so it runs "
        "where snakemake itself runs, never on a cluster's node. "
        f"HF_ENDPOINT ({constants.ENDPOINT}), HF_HOME and HF_TOKEN apply. Run again: it resumes where it stopped"
    )


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no details'}"
