"""Settings of the judge, `evaluation.judge`: which model, at what cost, how it is asked."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator


class JudgeModel(BaseModel):
    """A model that judges: behind an OpenAI-compatible endpoint, or loaded here."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: str
    """Name at the endpoint, or hub id or folder of a local model."""
    kind: Literal["endpoint", "local"] = "endpoint"
    base_url: str | None = None
    """Of an OpenAI-compatible endpoint, e.g. `http://localhost:8000/v1`; OpenAI's own if null."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; the key itself stands nowhere."""
    temperature: float | None = Field(default=0.0, ge=0)
    """Null leaves it to the endpoint, for models that refuse the field."""
    token_limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """How the endpoint calls the limit of a reply."""
    usd_per_million_input_tokens: float | None = Field(default=None, ge=0)
    usd_per_million_output_tokens: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _holds_no_secret(self) -> Self:
        # The values are not repeated: they may be the secret.
        if not self.api_key_env.isidentifier():
            raise ValueError(
                "evaluation.judge.api_key_env is no name of an environment variable; put the key "
                "in one (export OPENAI_API_KEY=...) and give its name"
            )
        parts = urlsplit(self.base_url or "http://x")
        if parts.scheme not in ("http", "https") or parts.username or parts.password or parts.query:
            raise ValueError(
                "evaluation.judge.base_url is a plain http(s) address, without user, password or "
                "query; a key belongs in the environment variable that api_key_env names"
            )
        return self

    @property
    def prices(self) -> tuple[float, float] | None:
        """USD for a million tokens of input and of output; a local model costs nothing."""
        if self.kind == "local":
            return 0.0, 0.0
        given = self.usd_per_million_input_tokens, self.usd_per_million_output_tokens
        return None if None in given else (given[0] or 0.0, given[1] or 0.0)


class JudgeConfig(JudgeModel):
    """The judge of generated text, and how it is asked."""

    second: JudgeModel | None = None
    """Another judge; asked the same, the agreement of both is reported (Cohen's kappa)."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Most tokens of a reply; what the benchmark's questions set if null."""
    concurrency: int = Field(default=8, ge=1)
    """Requests under way at once at an endpoint."""
    max_retries: int = Field(default=5, ge=0)
    """Further tries after a dropped connection, a time-out, status 408, 409, 429 or 5xx."""
    timeout_seconds: float = Field(default=60, gt=0)
    """Of one try."""
    max_cost: float | None = Field(default=None, ge=0)
    """USD; nothing is asked if the estimate exceeds it, nor once it is spent. Needs the prices."""
    max_unparsed_share: float = Field(default=0.05, ge=0, le=1)
    """Share of replies that may be lost or unreadable; more void the scores."""
    items_per_category: int | None = Field(default=None, ge=1)
    """Dialogues of each category that are asked, in a fixed order; all if null."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Of each reply of the model under test; what the benchmark defines if null."""
    store: str | None = None
    """File in which replies are stored and looked up; `judge/replies.jsonl` of the run if null."""

    @model_validator(mode="after")
    def _cost_can_be_told(self) -> Self:
        for judge in filter(None, (self, self.second)):
            if self.max_cost is not None and judge.prices is None:
                raise ValueError(
                    "evaluation.judge.max_cost needs usd_per_million_input_tokens and "
                    f"usd_per_million_output_tokens of {judge.model}; give both"
                )
        return self
