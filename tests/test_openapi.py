"""The description of the service tells the truth: requests made from it get the answers that it names."""

import base64

import numpy as np
import pytest

from retouch import image as images

pytest.importorskip("fastapi")
schemathesis = pytest.importorskip("schemathesis")
from hypothesis import HealthCheck, Phase, settings  # noqa: E402
from schemathesis import checks, openapi  # noqa: E402
from serving import Slow  # noqa: E402

from retouch.models import Model  # noqa: E402
from retouch.server.app import create_app  # noqa: E402
from retouch.server.settings import Settings  # noqa: E402

APP = create_app(Settings(model="telea"), hosts=["testserver"])
APP.state.context.models._loaded.update(
    {name: Model(name, Slow()) for name in APP.state.context.models.names}
)
PNG = images.encode(images.read(np.array([[0, 255], [0, 0]], np.uint8)), "PNG")
LAYER = images.encode(images.read(np.full((2, 2, 4), 255, np.uint8)), "PNG")
PICTURES = {"image": PNG, "mask": PNG, "filled": LAYER}
schema = openapi.from_asgi("/openapi.json", APP)


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
def test_answers_are_as_described(case):
    """Status, type, headers and body of every answer; what does not fit the description is refused.

    Whether random text is a picture cannot be described: that good requests are taken is left to test_server.
    """
    case.call_and_validate(excluded_checks=[checks.positive_data_acceptance])
    if isinstance(case.body, dict) and {"image", "mask"} <= set(case.body):
        text = case.media_type == "application/json"
        for key, data in PICTURES.items():
            if key != "filled" or isinstance(case.body.get(key), str | bytes):
                case.body[key] = base64.b64encode(data).decode() if text else data
        case.call_and_validate(
            excluded_checks=[checks.positive_data_acceptance, checks.negative_data_rejection]
        )


@pytest.mark.parametrize("media", ["multipart/form-data", "application/json"])
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"seed": 3, "variants": 2, "dilate": 1, "feather": 4, "blend": "none", "model": "telea"}, 200),
        ({"sd_seed": -1, "prompt": "", "sd_steps": 50}, 200),
        ({"seed": None, "blend": None, "model": None}, 200),
        ({"seed": -1}, 422),
        ({"blend": "mix"}, 422),
        ({"unknown": 1}, 422),
    ],
)
@pytest.mark.parametrize("names", [["image", "mask"], ["image", "mask", "filled"]])
def test_good_requests_and_bad_ones_are_answered_as_described(names, fields, status, media):
    """With real pictures, which are seldom among the bodies that chance makes of the description."""
    pictures = {name: PICTURES[name] for name in names}
    if media == "multipart/form-data":
        fields = {name: value for name, value in fields.items() if value is not None}  # forms have no null
    if media == "application/json":
        pictures = {name: base64.b64encode(data).decode() for name, data in pictures.items()}
    case = schema["/api/v1/inpaint"]["POST"].Case(body=pictures | fields, media_type=media)
    answer = case.call_and_validate(excluded_checks=[checks.positive_data_acceptance])
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("media", ["multipart/form-data", "application/json"])
def test_every_field_of_a_request_is_described(media):
    body = APP.openapi()["paths"]["/api/v1/inpaint"]["post"]["requestBody"]["content"][media]["schema"]
    assert [name for name, field in body["properties"].items() if not field.get("description")] == []
