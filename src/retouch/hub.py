"""Models on the Hugging Face hub, ``hf:OWNER/NAME``; its client is imported when one is asked for."""

from pathlib import Path

from retouch.errors import ModelError, first_line

FILES = ("model.onnx", "model.safetensors")  # in a repository of the hub: one of them, ...
CARD = "model.json"  # ... and its card; one stem, as a model's files have anywhere


def fetched(name: str) -> Path:
    """Fetches a model's files from the hub, or finds them in its cache; returns the path of the weights.

    Raises:
        ModelError: no such name or files, or the hub cannot be reached and the cache has none.
    """
    from huggingface_hub import errors, hf_hub_download, logging

    repository = name.removeprefix("hf:")
    verbosity = logging.get_verbosity()
    logging.set_verbosity(40)  # errors only: what goes wrong is said once, by us
    try:
        cached = not _hub_answers(repository)

        def fetch(file: str) -> Path:
            return Path(hf_hub_download(repository, file, local_files_only=cached))

        fetch(CARD)
        try:
            return fetch(FILES[0])
        except (errors.EntryNotFoundError, errors.LocalEntryNotFoundError):
            return fetch(FILES[1])
    except errors.HFValidationError as error:
        raise ModelError(f"expected hf:OWNER/NAME, got {name!r}") from error
    except errors.LocalEntryNotFoundError as error:
        raise ModelError(
            f"{name}: not in the hub's cache, and the hub cannot be reached (offline?)"
        ) from error
    except errors.GatedRepoError as error:
        raise ModelError(f"{name}: the hub wants you to log in and accept its terms first") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"{name}: expected a public repository on the hub, found none of this name"
        ) from error
    except errors.EntryNotFoundError as error:
        raise ModelError(
            f"{name}: expected {CARD} and {' or '.join(FILES)} in the repository, found others"
        ) from error
    except Exception as error:  # a full disk, or what the hub's client passes on from its HTTP library
        raise ModelError(f"{name}: the hub cannot be read: {first_line(error)}") from error
    finally:
        logging.set_verbosity(verbosity)


def _hub_answers(repository: str) -> bool:
    """Whether the hub can be reached. Asks once, where a download keeps trying for long."""
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    try:
        get_hf_file_metadata(hf_hub_url(repository, CARD))
    except (errors.RepositoryNotFoundError, errors.EntryNotFoundError, errors.HFValidationError):
        raise  # an answer, if not a welcome one
    except Exception:  # of the HTTP library, or offline mode
        return False
    return True
