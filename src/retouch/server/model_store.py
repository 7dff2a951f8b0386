"""The models of a server: known by name, each loaded once, when it is first asked for, and then shared."""

import difflib
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from retouch.cards import DEFAULT, shipped_names
from retouch.classical import CLASSICAL
from retouch.dynamic_batching import shared
from retouch.models import Model, load
from retouch.server.problems import HttpError
from retouch.workers import cores


class ModelStore:
    """Thread-safe. No name from a request is ever taken for a path: a model is on the list or there is none.

    Args:
        first: the model to start with, as ``retouch.load`` takes it; None is the default one.
        threads: cores that a model may use; None: all.
    """

    def __init__(self, first: str | None, threads: int | None) -> None:
        first = first or DEFAULT
        self.current = (
            Path(first).stem if os.path.exists(first) else first
        )  # clients see no path of this disk
        self._sources = {self.current: first} | {
            name: name for name in (*shipped_names(), *CLASSICAL) if name != self.current
        }
        self.names: Sequence[str] = list(self._sources)
        self._threads = threads
        self._loaded: dict[str, Model] = {}
        self._locks = {name: threading.Lock() for name in self.names}

    def is_own(self, name: str) -> bool:
        """Whether a known name is that of the owner's own file, which may be named as a shipped model is."""
        return self._sources[name] != name

    def known(self, name: str | None) -> str:
        """The name of a model on the list; None is the current one.

        Raises:
            HttpError: 404, with the names that are near.
        """
        if name is None:
            return self.current
        if name not in self._locks:
            near = difflib.get_close_matches(name[:80], self.names, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(self.names)}"
            raise HttpError("no_model", f"there is no model {name[:80]!r}: {hint}")
        return name

    def get(self, name: str) -> Model:
        """The model of a known name, loaded if it was not; others can be had meanwhile.

        Raises:
            ModelError, MissingExtraError: it cannot be loaded.
        """
        with self._locks[name]:
            if name not in self._loaded:
                self._loaded[name] = self._load(self._sources[name])
            return self._loaded[name]

    def _load(self, source: str) -> Model:
        """One photograph has all cores; as soon as there are as many as cores, each has one."""
        model, passes = load(source, threads=self._threads), self._threads or cores()
        return replace(model, predictor=shared(model.predictor, passes, threads=1 if passes > 1 else None))

    def loaded(self, name: str) -> Model | None:
        """The model of a known name if it is loaded."""
        return self._loaded.get(name)
