"""From configuration nodes to objects. Config stops here: parts take plain keyword arguments."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from unskew.controllers import CONTROLLERS
from unskew.controllers.checkpoint_choice import CheckpointChoice, Floor, KeepLast
from unskew.data.batches import ChunkSizes, PairChunks
from unskew.data.bbq import is_bbq, prompt_of
from unskew.data.bbq_training import load_bbq_to_learn
from unskew.data.completion import follow
from unskew.data.counterfactual import TARGETS, counterfactuals_of
from unskew.data.load import load_dataset
from unskew.data.neutral import neutral_documents
from unskew.data.plain import with_texts
from unskew.data.splits import SplitSettings
from unskew.errors import ConfigError
from unskew.models.load import LoadedModel, load_model
from unskew.models.tokens import Encoder
from unskew.objectives import OBJECTIVES
from unskew.protocols import Controller, Objective, UpdateRule
from unskew.registry import Table, nearest
from unskew.schema import ChoiceConfig, DataConfig, ModelConfig, TrainStage
from unskew.types import Dataset, Examples, Segment
from unskew.updates import SCOPES, UPDATES
from unskew.updates.scope import Scope
from unskew.world.teach import TaughtWorld
from unskew.world_names import WORLDS
from unskew.worlds import world_dataset


def build(table: Table, node: Mapping[str, Any], path: str, **given: Any) -> Any:
    """Make the part that a node names; its other keys are the part's own arguments.

    Args:
        table: Where the name is looked up.
        node: `{"name": ..., argument: value, ...}`.
        path: Dotted path of the node, for messages.
        **given: Arguments the run supplies where the part takes them.

    Raises:
        UnknownName: No such part.
        ConfigError: An argument is unknown, missing or wrong.
    """
    if "name" not in node:
        raise ConfigError(f"{path}.name is missing; there are: {', '.join(table)}")
    options = {k: v for k, v in node.items() if k != "name"}
    return construct(table.load(node["name"]), node["name"], options, path, **given)


def construct(cls: Any, name: str, settings: Mapping[str, Any], path: str, **given: Any) -> Any:
    """An instance of a part from settings, each checked against the part's signature.

    Args:
        cls: The part.
        name: What it is called in messages.
        settings: Argument -> value.
        path: Dotted path of the settings, for messages.
        **given: Arguments the run supplies where the part takes them.

    Raises:
        ConfigError: An argument is unknown, missing or wrong.
    """
    accepted = inspect.signature(cls).parameters
    options = dict(settings)
    known = [k for k in accepted if k not in given]
    faults = [
        f"{path}.{key}: {name} has no such setting{nearest(key, known)} "
        f"(it has: {', '.join(known)})"
        for key in options
        if key not in known
    ]
    faults += [
        f"{path}.{key} is missing; {name} needs it"
        for key in known
        if key not in options and accepted[key].default is inspect.Parameter.empty
    ]
    types = get_type_hints(cls.__init__)
    for key, value in options.items():
        try:
            options[key] = TypeAdapter(types.get(key, Any)).validate_python(value)
        except ValidationError as error:
            faults += [f"{path}.{key}: {e['msg']}, got {value!r}" for e in error.errors()]
    if faults:
        raise ConfigError("; ".join(faults))
    return cls(**{k: v for k, v in given.items() if k in accepted}, **options)


class Parts:
    """The parts of a train stage that need no model; making them checks the configuration.

    Args:
        stage: The stage's settings.
        categories: Categories of the train split.
        path: Dotted path of the stage, for messages.
        saliency_stages: Earlier stages whose mask the scope may name. It is made later, so the
            scope is then built with an empty one.
    """

    def __init__(
        self,
        stage: TrainStage,
        categories: tuple[str, ...],
        path: str,
        saliency_stages: Collection[str] = (),
    ) -> None:
        self.objective: Objective = build(OBJECTIVES, stage.objective, f"{path}.objective")
        self.rule: UpdateRule = build(UPDATES, stage.rule, f"{path}.rule")
        scope, given = dict(stage.scope), {}
        if scope.get("mask") in saliency_stages:
            given = {"mask": {}}
            del scope["mask"]
        self.scope: Scope = build(SCOPES, scope, f"{path}.scope", **given)
        self.controllers: list[Controller] = [
            build(CONTROLLERS, node, f"{path}.controllers.{i}", categories=categories)
            for i, node in enumerate(stage.controllers)
        ]
        self.choice = choice_for(stage.choice)
        self._check_weights(stage, path)

    def _check_weights(self, stage: TrainStage, path: str) -> None:
        """The rule must weigh the objective's parts, and each part with weight needs its stream."""
        weights = getattr(self.rule, "weights", {})
        for name in weights:
            if name not in self.objective.parts:
                raise ConfigError(
                    f"{path}.rule.weights.{name}: the objective has no such part"
                    f"{nearest(name, self.objective.parts)} "
                    f"(it has: {', '.join(self.objective.parts)})"
                )
        for name, part in self.objective.parts.items():
            if weights.get(name) and not getattr(stage.chunk, part.stream, 1):
                raise ConfigError(
                    f"{path}.rule.weights.{name} is {weights[name]}, but {path}.chunk."
                    f"{part.stream} is 0; give the stream rows or the part no weight"
                )
        has_contexts = any(p.reference_over == "contexts" for p in self.objective.parts.values())
        if has_contexts != bool(stage.chunk.contexts):
            raise ConfigError(
                f"{path}.chunk.contexts is {stage.chunk.contexts}, but the objective "
                f"{'needs some' if has_contexts else 'reads none'}; even with target "
                "counterfactuals is the one that does"
            )


def choice_for(settings: ChoiceConfig | None) -> CheckpointChoice:
    """What decides which weights are kept; the last are, without settings."""
    if settings is None:
        return KeepLast()
    floors = [Floor(f.benchmark, f.metric, f.max_loss, f.relative) for f in settings.floors]
    return CheckpointChoice(
        floors, signal=settings.signal, window=settings.window, over=settings.over
    )


def chunks_for(stage: TrainStage, train: Examples, seed: int) -> PairChunks:
    """The stage's stream of chunks.

    Raises:
        ConfigError: The word table is missing, or nothing asks for it.
        DataError: A stream that is asked for has no row, or the table cannot be used.
    """
    chunk = stage.chunk
    if bool(chunk.word_table) != bool(chunk.texts or chunk.contexts):
        raise ConfigError(
            "chunk.texts and chunk.contexts need chunk.word_table, a file of words or "
            f"{TARGETS}, and a word table needs one of them"
        )
    sizes = ChunkSizes(**{f.name: getattr(chunk, f.name) for f in fields(ChunkSizes)})
    counterfactuals = None
    if chunk.word_table:
        counterfactuals = counterfactuals_of(
            train, chunk.word_table, num_contexts=chunk.contexts, has_texts=bool(chunk.texts)
        )
    return PairChunks(
        train.pairs,
        train.documents,
        counterfactuals=counterfactuals,
        sizes=sizes,
        adversarial_ratio=chunk.adversarial_ratio,
        category_balance=chunk.category_balance,
        document_share=chunk.document_share,
        questions=train.questions,
        question_share=chunk.question_share,
        without_start=chunk.without_start,
        seed=seed,
    )


def model_for(
    config: ModelConfig, world: TaughtWorld | None, *, keep_dropout: bool = False
) -> LoadedModel:
    """Load the model a configuration names."""
    name = config.name_or_path
    path = str(world.biased) if name in WORLDS and world is not None else name
    loaded = load_model(
        path,
        dtype=config.dtype,
        revision=config.revision,
        attn_implementation=config.attn_implementation,
        trust_remote_code=config.trust_remote_code,
        keep_dropout=keep_dropout,
    )
    return replace(loaded, name_or_path=name)


def data_for(config: DataConfig) -> Dataset:
    """Load and split the data a configuration names.

    Data without plain text gets the package's neutral sentences for the damage guards, every other
    one for select and for report.

    Raises:
        ConfigError: The world is asked for with settings that only hold for files.
    """
    if config.name_or_path in WORLDS:
        given = config.model_dump(exclude_defaults=True, exclude={"name_or_path"})
        return world_dataset(config.name_or_path, given)
    cut = config.splits
    splits = SplitSettings(cut.train, cut.select, cut.report, cut.seed)
    if is_bbq(config.name_or_path, config.format):
        return with_neutral_text(with_texts(_bbq(config, splits), config.texts))
    dataset = load_dataset(
        config.name_or_path,
        format=config.format,
        columns=config.columns,
        categories=config.categories,
        tasks=config.tasks,
        splits=splits,
        report_data=config.report_data,
        revision=config.revision,
    )
    return with_neutral_text(with_texts(dataset, config.texts))


def _bbq(config: DataConfig, splits: SplitSettings) -> Dataset:
    pairs_only = ("columns", "categories", "tasks", "report_data")
    if given := [name for name in pairs_only if getattr(config, name)]:
        raise ConfigError(
            f"BBQ's questions have no {', '.join(given)}; leave out "
            f"{', '.join(f'data.{name}' for name in given)}"
        )
    return load_bbq_to_learn(config.name_or_path, splits, config.revision)


def with_neutral_text(dataset: Dataset) -> Dataset:
    """Add neutral sentences to select and report where the data has no plain text of its own."""
    neutral = neutral_documents()
    share = {"select": neutral[::2], "report": neutral[1::2]}
    splits = {
        name: replace(e, documents=e.documents or share.get(name, ()))
        for name, e in dataset.splits.items()
    }
    return replace(dataset, splits=splits)


def check_lengths(dataset: Dataset, encoder: Encoder) -> None:
    """Tokenise all that is learned or asked, so that what the model cannot take is told at once.

    Raises:
        DataError: A text is longer than the model's context, or has nothing to score.
    """
    for examples in dataset.splits.values():
        encoder.encode([Segment(t, p.completion_start) for p in examples.pairs for t in p.texts])
        asked = [(prompt_of(c), c.options) for c in examples.choices]
        asked += [(q.prompt, (q.answer,)) for q in examples.questions]
        for start, texts in (follow(prompt, answers) for prompt, answers in asked):
            encoder.encode([Segment(text, start) for text in texts])
