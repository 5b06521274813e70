"""A judge behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from email.utils import parsedate_to_datetime
from typing import Any

from unskew.chat import JudgePrompt, JudgeReply
from unskew.errors import ConfigError, JudgeFailed
from unskew.judge_settings import JudgeConfig, JudgeModel

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 60.0
RETRIED = {408, 409, 425, 429}
"""Statuses that pass, besides those from 500 on."""


class EndpointJudge:
    """Asks over HTTP, several questions at once, and again where that can help.

    A dropped connection, a time-out and a passing status are tried again after a wait that doubles,
    or after what `Retry-After` says (at most a minute). What stays lost is None.

    Args:
        judge: The model and its endpoint.
        how: Concurrency, retries and time-out.
        sleep: Waits so many seconds.

    Raises:
        ConfigError: The `openai` client is not installed, or the environment has no key.
    """

    def __init__(
        self, judge: JudgeModel, how: JudgeConfig, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._openai = _client_library()
        key = os.environ.get(judge.api_key_env, "").strip()
        if not key:
            raise ConfigError(
                f"the environment variable {judge.api_key_env} holds no key for the judge "
                f"{judge.model}; export it (any word will do where the endpoint wants none)"
            )
        self._key = key
        self._judge, self._how, self._sleep = judge, how, sleep

    @property
    def identity(self) -> str:
        """Model, endpoint and temperature."""
        place = (self._judge.base_url or "openai").rstrip("/")
        return f"{self._judge.model} at {place}, temperature {self._judge.temperature}"

    @property
    def prices(self) -> tuple[float, float] | None:
        """USD for a million tokens of input and of output."""
        return self._judge.prices

    def ask(
        self,
        prompts: Sequence[JudgePrompt],
        max_tokens: int,
        replied: Callable[[int, JudgeReply | None], None],
    ) -> None:
        """See `unskew.protocols.Judge`.

        Raises:
            JudgeFailed: The endpoint refuses the key, the model or the request.
        """
        client = self._openai.OpenAI(
            api_key=self._key,
            base_url=self._judge.base_url or "https://api.openai.com/v1",
            timeout=self._how.timeout_seconds,
            max_retries=0,
        )
        waiting = list(enumerate(prompts))[::-1]
        running: dict[Future[JudgeReply | None], int] = {}
        with client, ThreadPoolExecutor(self._how.concurrency) as pool:
            try:
                while waiting or running:
                    # Not all at once: what is not handed out need not be called back.
                    while waiting and len(running) < self._how.concurrency:
                        place, prompt = waiting.pop()
                        running[pool.submit(self._reply, client, prompt, max_tokens)] = place
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        replied(running.pop(done), done.result())
            except BaseException:
                for future in running:
                    future.cancel()
                raise

    def _reply(self, client: Any, prompt: JudgePrompt, max_tokens: int) -> JudgeReply | None:
        for attempt in range(self._how.max_retries + 1):
            try:
                return self._once(client, prompt, max_tokens)
            except self._openai.APIStatusError as error:
                if error.status_code not in RETRIED and error.status_code < 500:
                    # Without its cause: an endpoint may repeat the key, and a traceback shows it.
                    raise self._refused(error) from None
                asked_for = _retry_after(error.response.headers.get("retry-after"))
            except (self._openai.APIError, ValueError):
                # No connection, a time-out, or an answer that is no chat completion.
                asked_for = None
            if attempt < self._how.max_retries:
                wait_seconds = FIRST_WAIT_SECONDS * 2**attempt * random.uniform(0.75, 1.25)
                chosen = wait_seconds if asked_for is None else asked_for
                self._sleep(min(chosen, LONGEST_WAIT_SECONDS))
        return None

    def _once(self, client: Any, prompt: JudgePrompt, max_tokens: int) -> JudgeReply:
        fields: dict[str, Any] = {self._judge.token_limit_field: max_tokens}
        if self._judge.temperature is not None:
            fields["temperature"] = self._judge.temperature
        found = client.chat.completions.create(
            model=self._judge.model,
            messages=[{"role": role, "content": text} for role, text in prompt.messages],
            **fields,
        )
        choices = getattr(found, "choices", None)
        if not choices or not isinstance(getattr(choices[0].message, "content", None), str):
            raise ValueError("no choice with a text")
        usage = getattr(found, "usage", None)
        return JudgeReply(
            choices[0].message.content,
            int(getattr(usage, "prompt_tokens", 0) or 0),
            int(getattr(usage, "completion_tokens", 0) or 0),
        )

    def _refused(self, error: Any) -> JudgeFailed:
        said = " ".join(str(getattr(error, "message", "")).replace(self._key, "***").split())
        hints = {
            401: f"check the key in {self._judge.api_key_env}",
            403: f"check the rights of the key in {self._judge.api_key_env}",
            404: "check evaluation.judge.model and base_url",
        }
        hint = hints.get(error.status_code, "check the settings of evaluation.judge")
        # An endpoint that repeats a part of a wrong key says so under these two.
        words = "" if error.status_code in (401, 403) else f" ({said[:200]})"
        return JudgeFailed(
            f"the judge {self._judge.model} answered with status {error.status_code}{words}; {hint}"
        )


def _client_library() -> Any:
    try:
        import openai
    except ImportError as error:
        raise ConfigError(
            "a judge behind an endpoint needs the openai client; pip install 'unskew[judge]', or "
            "take a local model (evaluation.judge.kind=local)"
        ) from error
    return openai


def _retry_after(header: str | None) -> float | None:
    """Seconds to wait, from seconds or a date; None where the header says neither."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
