"""The judge behind an endpoint, against a real server that is slow, rude, rate-limiting, wrong."""

from __future__ import annotations

import builtins
import time

import pytest

from tests.unit.judging.server import Server, completion, says
from unskew.chat import JudgePrompt
from unskew.errors import ConfigError, JudgeFailed
from unskew.judge_settings import JudgeConfig
from unskew.judging import endpoint
from unskew.judging.endpoint import EndpointJudge

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)


def _prompts(count=1):
    return [JudgePrompt("v1", (("system", "Judge."), ("user", f"Q{i}"))) for i in range(count)]


def _ask(server, count=1, **settings):
    """Replies by place, and the seconds that were waited."""
    slept, replies = [], {}
    given = {"model": "m", "base_url": server.url, "api_key_env": "JUDGE_KEY", **settings}
    config = JudgeConfig(**given)
    judge = EndpointJudge(config, config, sleep=slept.append)
    judge.ask(_prompts(count), 16, lambda place, reply: replies.update({place: reply}))
    return replies, slept


def test_question_and_reply_go_through_the_protocol():
    with Server(lambda n, body: says(f"re {body['messages'][1]['content']}")) as server:
        replies, slept = _ask(server, 3)
    assert {p: (r.text, r.input_tokens, r.output_tokens) for p, r in replies.items()} == {
        i: (f"re Q{i}", 20, 2) for i in range(3)
    }
    assert slept == []
    assert set(server.keys) == {f"Bearer {KEY}"}
    body = server.bodies[0]
    assert (body["path"], body["model"]) == ("/v1/chat/completions", "m")
    assert (body["max_tokens"], body["temperature"]) == (16, 0)
    assert body["messages"][0] == {"role": "system", "content": "Judge."}


def test_fields_that_an_endpoint_refuses_can_be_changed():
    with Server(lambda n, body: says("Yes")) as server:
        _ask(server, temperature=None, token_limit_field="max_completion_tokens")
    (body,) = server.bodies
    assert body["max_completion_tokens"] == 16
    assert not {"temperature", "max_tokens"} & set(body)


def test_no_more_at_once_than_asked_for():
    with Server(lambda n, body: says("Yes"), delay=0.05) as server:
        begun = time.perf_counter()
        replies, _ = _ask(server, 12, concurrency=4)
        seconds = time.perf_counter() - begun
    assert len(replies) == 12
    assert 2 <= server.most_at_once <= 4
    assert seconds < 12 * 0.05 + 1


def test_a_rude_server_is_asked_again():
    with Server(lambda n, body: None if n < 2 else says("Yes")) as server:
        replies, slept = _ask(server)
    assert replies[0].text == "Yes"
    # Doubling from half a second, a quarter more or less.
    assert 0.375 <= slept[0] <= 0.625
    assert 0.75 <= slept[1] <= 1.25


def test_a_rate_limit_says_how_long_to_wait():
    def limited(n, body):
        return (429, {"error": {"message": "slow"}}, {"Retry-After": "7"}) if n < 2 else says("Yes")

    with Server(limited) as server:
        replies, slept = _ask(server)
    assert (replies[0].text, slept) == ("Yes", [7, 7])


def test_a_rate_limit_by_date_and_beyond_a_minute(monkeypatch):
    monkeypatch.setattr(endpoint.time, "time", lambda: 784111777.0)
    assert endpoint._retry_after("Sun, 06 Nov 1994 08:49:47 GMT") == 10
    assert endpoint._retry_after("soon") is None
    with Server(
        lambda n, body: (503, {}, {"Retry-After": "9999"}) if n == 0 else says("Yes")
    ) as server:
        _, slept = _ask(server)
    assert slept == [60]


def test_a_slow_server_is_given_up_on_and_the_item_is_lost():
    with Server(lambda n, body: says("Yes"), delay=0.3) as server:
        replies, slept = _ask(server, timeout_seconds=0.05, max_retries=2)
    assert replies == {0: None}
    assert len(slept) == 2
    assert len(server.bodies) == 3


def test_a_server_that_talks_nonsense_is_asked_again_and_given_up_on():
    nonsense = ["<html>", {"choices": []}, completion(None), "[1, 2]", {"x": 1}, "null"]
    with Server(lambda n, body: (200, nonsense[n], {})) as server:
        replies, _ = _ask(server, max_retries=5)
    assert replies == {0: None}
    assert len(server.bodies) == 6


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "check the key in JUDGE_KEY"), (404, "judge.model and base_url"), (400, "settings of")],
)
def test_what_cannot_pass_ends_at_once_and_does_not_repeat_the_key(status, hint):
    body = {"error": {"message": f"no such thing for {KEY}", "code": "x"}}
    with Server(lambda n, b: (status, body, {})) as server, pytest.raises(JudgeFailed) as caught:
        _ask(server, 50, concurrency=2)
    assert f"status {status}" in str(caught.value)
    assert hint in str(caught.value)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert len(server.bodies) <= 4


def test_nothing_listens():
    config = JudgeConfig(
        model="m", base_url="http://127.0.0.1:9/v1", api_key_env="JUDGE_KEY", max_retries=1
    )
    replies = {}
    judge = EndpointJudge(config, config, sleep=lambda s: None)
    judge.ask(_prompts(), 8, lambda place, reply: replies.update({place: reply}))
    assert replies == {0: None}


def test_without_a_key_or_the_client_it_is_said_before_anything(monkeypatch):
    config = JudgeConfig(model="m", api_key_env="NO_SUCH_KEY")
    with pytest.raises(ConfigError, match="variable NO_SUCH_KEY holds no key"):
        EndpointJudge(config, config)
    real = builtins.__import__

    def without(name, *args, **options):
        if name == "openai":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'unskew\[judge\]'"):
        EndpointJudge(config, config)


def test_the_key_is_in_no_identity_and_no_repr():
    config = JudgeConfig(model="m", api_key_env="JUDGE_KEY")
    judge = EndpointJudge(config, config)
    assert KEY not in judge.identity + repr(judge) + repr(config) + config.model_dump_json()
