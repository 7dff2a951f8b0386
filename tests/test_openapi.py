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
APP.state.house.shelf._loaded.update({name: Model(name, Slow()) for name in APP.state.house.shelf.names})
PNG = images.encode(images.read(np.array([[0, 255], [0, 0]], np.uint8)), "PNG")
LAYER = images.encode(images.read(np.full((2, 2, 4), 255, np.uint8)), "PNG")
PICTURES = {"image": PNG, "mask": PNG, "filled": LAYER}
STATUSES: set[int] = set()
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
        answer = case.call_and_validate(
            excluded_checks=[checks.positive_data_acceptance, checks.negative_data_rejection]
        )
        STATUSES.add(answer.status_code)


def test_good_requests_were_among_them():
    if not STATUSES:
        pytest.skip("asks what the test before it has seen")
    assert {200, 422} <= STATUSES
