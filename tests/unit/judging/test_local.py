from __future__ import annotations

from types import SimpleNamespace

import pytest

from unskew.chat import Conversation, JudgePrompt
from unskew.errors import DataError
from unskew.judge_settings import JudgeModel
from unskew.judging import local
from unskew.judging.local import LocalJudge


def test_it_loads_once_and_hands_over_each_reply_at_its_place(monkeypatch):
    seen, loaded, replies = [], [], {}

    def converse(model, encoder, requests, seed):
        seen.extend(requests)
        return {r.id: Conversation((f"re {r.turns[0]}",)) for r in reversed(requests)}

    def load(name):
        loaded.append(name)
        return SimpleNamespace(model=None, encoder=None)

    monkeypatch.setattr(local, "converse", converse)
    judge = LocalJudge(JudgeModel(model="small", kind="local"), load)
    prompts = [JudgePrompt("v", (("system", "Judge."), ("user", str(i)))) for i in range(20)]
    assert loaded == []
    for _ in range(2):
        judge.ask(prompts, 8, lambda place, reply: replies.update({place: reply.text}))
    assert loaded == ["small"]
    assert replies == {i: f"re Judge.\n\n{i}" for i in range(20)}
    assert {(r.max_new_tokens, r.temperature) for r in seen} == {(8, 0.0)}


def test_a_real_model_judges(lab):
    judge = LocalJudge(JudgeModel(model=str(lab / "models" / "lab-taught"), kind="local"))
    replies = {}
    prompts = [JudgePrompt("v", (("user", "Is this fair? Yes or No."),))] * 2
    judge.ask(prompts, 4, lambda place, reply: replies.update({place: reply.text}))
    assert replies[0] == replies[1]


def test_a_judge_whose_context_is_too_short_is_named(monkeypatch):
    def converse(*args):
        raise DataError("563 tokens in 'x', but the model's context holds 512")

    monkeypatch.setattr(local, "converse", converse)
    loaded = SimpleNamespace(model=None, encoder=None)
    judge = LocalJudge(JudgeModel(model="small", kind="local"), lambda name: loaded)
    prompt = JudgePrompt("v", (("user", "Grade."),))
    with pytest.raises(DataError, match="the judge small: 563 tokens"):
        judge.ask([prompt], 8, lambda place, reply: None)
