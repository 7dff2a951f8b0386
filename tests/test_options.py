"""Settings as Python gives them: taken where it is clear what is meant, refused in one line where it is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retouch.batch.settings import Settings as Batch
from retouch.errors import DataError, OptionError, RetouchError, ServerError, TrainingError
from retouch.evaluation.run import Settings as Evaluation
from retouch.server.settings import Settings as Server
from retouch.training.settings import Settings as Training


@pytest.mark.parametrize("kind", [Training, Evaluation])
def test_paths_and_single_texts_are_taken_as_the_command_gives_them(kind: Callable[..., Any]) -> None:
    asked = kind(data=("photos", "a.tar"), output=Path("out"))
    assert kind(data=["photos", Path("a.tar")], output="out") == asked
    assert (
        kind(data=Path("photos"), output="out").data == kind(data="photos", output="out").data == ("photos",)
    )
    assert kind(data="photos", output="out", masks="strokes").masks == ("strokes",)


def test_a_folder_may_be_a_text(tmp_path: Path) -> None:
    assert Server(input=str(tmp_path)) == Server(input=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ServerError, match=r"^expected --input to be an existing folder, got .*gone$"):
        Server(input=str(tmp_path / "gone"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "error", "wrong", "says"),
    [
        (Training, TrainingError, {"data": 5}, "data: expected texts or paths, got 5"),
        (
            Training,
            TrainingError,
            {"masks": [b"strokes"]},
            "masks: expected texts or paths, got [b'strokes']",
        ),
        (Training, TrainingError, {"output": 5}, "output: expected a path, got 5"),
        (
            Training,
            TrainingError,
            {"precision": "8"},
            "precision: expected one of 32-true, bf16-mixed, 16-mixed, got '8'",
        ),
        (Evaluation, DataError, {"model": None}, "model: expected texts or paths, got None"),
        (Evaluation, DataError, {"features": b"x"}, "features: expected a path, got b'x'"),
        (Server, ServerError, {"input": 5}, "input: expected a path, got 5"),
        (Batch, OptionError, {"blend": "x"}, "blend: expected one of none, feather, poisson, got 'x'"),
        (Batch, OptionError, {"engine": "x"}, "engine: expected one of local, ray, got 'x'"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    kind: Callable[..., Any], error: type[RetouchError], wrong: dict[str, Any], says: str
) -> None:
    given: dict[str, Any] = {"data": ("photos",), "output": "out"} if kind in (Training, Evaluation) else {}
    with pytest.raises(error) as caught:
        kind(**(given | wrong))
    assert str(caught.value) == says
