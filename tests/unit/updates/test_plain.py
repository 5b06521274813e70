"""The plain rule asks once, with its weights."""

from __future__ import annotations

import pytest

from unskew.errors import ConfigError
from unskew.updates.plain import PlainRule


class _Source:
    params = ()

    def __init__(self, values):
        self.values = values
        self.asked = []

    def gradients(self, weights):
        self.asked.append(dict(weights))
        return self.values


def test_one_request_and_the_weighted_loss():
    weights = {"forget": 0.5, "retain": 0.25, "unrelated": 2.0}
    source = _Source({"forget": 4.0, "retain": 8.0})
    info = PlainRule(weights).step(source)
    assert source.asked == [weights]
    assert info.parts == {"forget": 4.0, "retain": 8.0}
    assert info.loss == 0.5 * 4 + 0.25 * 8


def test_the_rule_keeps_its_own_weights():
    weights = {"forget": 1.0}
    rule = PlainRule(weights)
    weights["forget"] = 5.0
    assert rule.weights == {"forget": 1.0}
    assert rule.state_dict() == {}


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf")])
def test_a_weight_out_of_range_is_refused(bad):
    with pytest.raises(ConfigError, match=r"rule.weights.retain is .*; it must be 0 or positive"):
        PlainRule({"forget": 1.0, "retain": bad})


@pytest.mark.parametrize("weights", [{}, {"forget": 0.0, "retain": 0.0}])
def test_all_zero_is_refused(weights):
    with pytest.raises(ConfigError, match="nothing is learned"):
        PlainRule(weights)
