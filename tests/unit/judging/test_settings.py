from __future__ import annotations

import pytest

from unskew.config import checked
from unskew.errors import ConfigError
from unskew.schema import EvaluationConfig

SECRET = "sk-abc-secret"


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ({"api_key_env": SECRET}, "api_key_env is no name of an environment variable"),
        ({"base_url": f"https://me:{SECRET}@host/v1"}, "base_url is a plain http"),
        ({"base_url": f"https://host/v1?key={SECRET}"}, "base_url is a plain http"),
        ({"base_url": "host/v1"}, "base_url is a plain http"),
        ({"api_key": SECRET}, "unknown setting 'judge.api_key'; did you mean 'api_key_env'"),
        ({"max_cost": 1}, "max_cost needs usd_per_million_input_tokens"),
        (
            {"max_cost": 1, "kind": "local", "second": {"model": "other"}},
            "usd_per_million_output_tokens of other",
        ),
        ({"second": {"model": "m", "concurrency": 2}}, "unknown setting 'judge.second.concurrency"),
        ({"max_unparsed_share": 2}, "judge.max_unparsed_share"),
    ],
)
def test_mistakes_are_told_without_the_secret(judge, message):
    with pytest.raises(ConfigError, match=message) as caught:
        checked(EvaluationConfig, {"judge": {"model": "m", **judge}})
    assert SECRET not in str(caught.value)


def test_a_local_judge_costs_nothing():
    found = checked(EvaluationConfig, {"judge": {"model": "m", "kind": "local", "max_cost": 0}})
    assert found.judge is not None
    assert found.judge.prices == (0, 0)
