"""Cost, store, unreadable replies, two judges: with scripted judges and a real server."""

from __future__ import annotations

import json

import pytest

from tests.unit.judging.server import Server, says
from unskew.chat import ChatRequest, Conversation, JudgePrompt, JudgeReply
from unskew.errors import DataError, JudgeFailed
from unskew.judge_settings import JudgeConfig
from unskew.judging.panel import Panel, judges_for, panel_for
from unskew.judging.store import ReplyStore

KEY = "sk-very-secret-0123456789"


class Asks:
    """One question for each reply."""

    def __init__(self, version="v1"):
        self.version = version

    def judge_prompts(self, request, answer):
        return tuple(JudgePrompt(self.version, (("user", reply),)) for reply in answer.replies)

    def verdict(self, text):
        return {"Yes": 1.0, "No": 0.0}.get(text)


class Scripted:
    prices = (1.0, 2.0)

    def __init__(self, text_of=lambda asked: "Yes", name="scripted"):
        self.text_of, self.identity, self.asked = text_of, name, []

    def ask(self, prompts, max_tokens, replied):
        for place, prompt in enumerate(prompts):
            self.asked.append(prompt.messages[0][1])
            text = self.text_of(prompt.messages[0][1])
            replied(place, None if text is None else JudgeReply(text, 100, 10))


def _answers(count, of=lambda i: (f"reply {i}",)):
    requests = {str(i): ChatRequest(str(i), ("turn",)) for i in range(count)}
    return requests, {i: Conversation(of(int(i))) for i in requests}


def _panel(tmp_path, *judges, **options):
    return Panel(judges, ReplyStore(tmp_path / "judge" / "replies.jsonl"), **options)


def test_every_reply_gets_its_own_judgement(tmp_path):
    judge = Scripted(lambda asked: "Yes" if asked.endswith(("1", "5b")) else "No")
    requests, answers = _answers(7, lambda i: (f"reply {i}", f"{i}b")[: i % 3])
    found = _panel(tmp_path, judge).judge(Asks(), requests, answers)
    assert found["1"].judgements == ("Yes",)
    assert found["5"].judgements == ("No", "Yes")
    assert found["0"].judgements == ()
    assert found["5"].replies == answers["5"].replies


def test_equal_questions_are_asked_once_and_stored_ones_not_at_all(tmp_path):
    judge = Scripted()
    requests, answers = _answers(6, lambda i: (f"reply {i % 2}",))
    first = _panel(tmp_path, judge).judge(Asks(), requests, answers)
    assert judge.asked == ["reply 0", "reply 1"]
    again = _panel(tmp_path, judge)
    assert again.judge(Asks(), requests, answers) == first
    assert len(judge.asked) == 2
    assert (again.estimates[0].stored, again.estimates[0].usd) == (6, 0)


@pytest.mark.parametrize("change", ["judge", "wording", "words", "limit"])
def test_what_changes_the_reply_changes_the_key(tmp_path, change):
    requests, answers = _answers(2)
    _panel(tmp_path, Scripted()).judge(Asks(), requests, answers)
    other = Scripted(name="other" if change == "judge" else "scripted")
    panel = _panel(tmp_path, other, max_tokens=9 if change == "limit" else 256)
    if change == "words":
        answers = {i: Conversation((f"{a.replies[0]}!",)) for i, a in answers.items()}
    panel.judge(Asks("v2" if change == "wording" else "v1"), requests, answers)
    assert len(other.asked) == 2


def test_the_estimate_by_hand(tmp_path):
    requests, answers = _answers(3, lambda i: ("a" * 10,) if i else ("b" * 12,))
    panel = _panel(tmp_path, Scripted(), max_tokens=50)
    panel.judge(Asks(), requests, answers)
    (estimate,) = panel.estimates
    # 10 and 12 bytes are 4 tokens each at three to a token; the equal question counts once.
    assert (estimate.questions, estimate.input_tokens, estimate.output_tokens) == (3, 8, 100)
    assert estimate.usd == pytest.approx((8 * 1 + 100 * 2) / 1e6)
    # What it cost: 100 read and 10 written, twice.
    assert panel.spent_usd == pytest.approx(2 * (100 * 1 + 10 * 2) / 1e6)


def test_a_question_sets_its_own_limit_unless_the_settings_do(tmp_path):
    """A judge that explains itself before it grades needs more than one that says yes."""
    limits = []

    class Noting(Scripted):
        def ask(self, prompts, max_tokens, replied):
            limits.append(max_tokens)
            super().ask(prompts, max_tokens, replied)

    class Explained(Asks):
        def judge_prompts(self, request, answer):
            return (JudgePrompt("v1", (("user", answer.replies[0]),), max_tokens=700),)

    requests, answers = _answers(2)
    panel = _panel(tmp_path, Noting())
    panel.judge(Asks(), requests, answers)
    panel.judge(Explained(), requests, answers)
    _panel(tmp_path, Noting(), max_tokens=9).judge(Explained(), requests, answers)
    assert limits == [256, 700, 9]
    assert [e.output_tokens for e in panel.estimates] == [2 * 256, 2 * 700]


def test_nothing_is_asked_above_the_limit(tmp_path, capsys):
    judge = Scripted()
    requests, answers = _answers(3)
    panel = _panel(tmp_path, judge, max_tokens=50, max_cost=0.0003)
    with pytest.raises(JudgeFailed, match=r"up to 0\.0003 USD and max_cost is 0\.0003"):
        panel.judge(Asks(), requests, answers)
    assert judge.asked == []
    assert "3 questions, 0 with a stored reply" in capsys.readouterr().err
    _panel(tmp_path, judge, max_tokens=50, max_cost=0.00037).judge(Asks(), requests, answers)


def test_replies_longer_than_estimated_end_it(tmp_path):
    judge = Scripted()
    requests, answers = _answers(30)
    with pytest.raises(JudgeFailed, match="replies were longer than estimated"):
        _panel(tmp_path, judge, max_tokens=1, max_cost=0.001).judge(Asks(), requests, answers)
    # Each reply costs 0.00012; the ninth goes beyond, and it is kept.
    assert len(judge.asked) == 9
    assert len((tmp_path / "judge" / "replies.jsonl").read_text().splitlines()) == 9


@pytest.mark.parametrize("text", [None, "I would rather not say"])
def test_a_twentieth_may_be_lost_and_no_more(tmp_path, text, capsys):
    requests, answers = _answers(40)
    spoilt = {"reply 0", "reply 1"}
    judge = Scripted(lambda asked: text if asked in spoilt else "No")
    found = _panel(tmp_path / "a", judge).judge(Asks(), requests, answers)
    assert found["0"].judgements == (text,)
    assert "2 could not be read" in (err := capsys.readouterr().err) or "2 were lost" in err
    spoilt.add("reply 2")
    with pytest.raises(JudgeFailed, match="of 40 questions to the judge scripted"):
        _panel(tmp_path / "b", judge).judge(Asks(), requests, answers)


def test_an_unreachable_judge_ends_early(tmp_path):
    judge = Scripted(lambda asked: None)
    requests, answers = _answers(100)
    with pytest.raises(JudgeFailed, match="6 had no reply"):
        _panel(tmp_path, judge).judge(Asks(), requests, answers)
    assert len(judge.asked) == 6


def test_a_cut_off_judging_goes_on_where_it_was(tmp_path):
    class Dies(Scripted):
        def ask(self, prompts, max_tokens, replied):
            super().ask(prompts[:3], max_tokens, replied)
            raise JudgeFailed("died")

    requests, answers = _answers(8)
    with pytest.raises(JudgeFailed, match="died"):
        _panel(tmp_path, Dies()).judge(Asks(), requests, answers)
    after = Scripted()
    _panel(tmp_path, after).judge(Asks(), requests, answers)
    assert after.asked == [f"reply {i}" for i in range(3, 8)]


def test_two_judges_are_kept_apart(tmp_path):
    requests, answers = _answers(2)
    yes, no = Scripted(lambda a: "Yes", "one"), Scripted(lambda a: "No", "two")
    found = _panel(tmp_path, yes, no).judge(Asks(), requests, answers)
    assert found["1"].judgements == ("Yes",)
    assert found["1"].second_judgements == ("No",)


def test_a_store_whose_last_line_was_cut_off_is_mended_and_another_is_refused(tmp_path):
    requests, answers = _answers(2)
    _panel(tmp_path, Scripted()).judge(Asks(), requests, answers)
    path = tmp_path / "judge" / "replies.jsonl"
    whole = path.read_text()
    path.write_text(whole[:-20])
    judge = Scripted()
    _panel(tmp_path, judge).judge(Asks(), requests, answers)
    assert judge.asked == ["reply 1"]
    assert [json.loads(line)["text"] for line in path.read_text().splitlines()] == ["Yes", "Yes"]
    path.write_text("{}\n" + whole)
    with pytest.raises(DataError, match=r"replies\.jsonl, line 1: is no stored reply"):
        ReplyStore(path)


def test_a_store_that_was_cut_off_before_the_end_of_its_last_line_keeps_what_comes_next(tmp_path):
    requests, answers = _answers(1)
    _panel(tmp_path, Scripted()).judge(Asks(), requests, answers)
    path = tmp_path / "judge" / "replies.jsonl"
    path.write_text(path.read_text().rstrip("\n"))
    requests, answers = _answers(2)
    judge = Scripted()
    _panel(tmp_path, judge).judge(Asks(), requests, answers)
    assert judge.asked == ["reply 1"]
    assert [json.loads(line)["text"] for line in path.read_text().splitlines()] == ["Yes", "Yes"]


def test_from_the_settings_to_a_server_and_no_key_anywhere(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    requests, answers = _answers(10)
    with Server(lambda n, body: says("No")) as server:
        given = {"model": "m", "base_url": server.url, "api_key_env": "JUDGE_KEY"}
        config = JudgeConfig(**given)
        panel = panel_for(config, judges_for(config), tmp_path)
        found = panel.judge(Asks(), requests, answers)
    assert all(a.judgements == ("No",) for a in found.values())
    written = [p.read_text() for p in tmp_path.rglob("*") if p.is_file()]
    assert len(written) == 1
    assert KEY not in written[0] + capsys.readouterr().err
    # A second run reads what is stored; the server is gone.
    again = panel_for(config, judges_for(config), tmp_path)
    assert again.judge(Asks(), requests, answers) == found
