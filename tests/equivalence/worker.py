"""One process of a run that several processes share: `python worker.py FOLDER`."""

from __future__ import annotations

import atexit
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import torch


def main(folder: Path) -> None:
    """Answer requests and train, and write what came out."""
    from accelerate import PartialState
    from safetensors.torch import save_file

    from tests.equivalence.asked import answers
    from tests.fixtures import make_trainer, trainable
    from unskew.errors import Diverged
    from unskew.training.launch import leave

    torch.set_num_threads(1)
    PartialState(cpu=True)
    atexit.register(leave)
    failing = os.environ.get("FAILING_RANK")
    rank = os.environ["RANK"]
    if failing is None:
        (folder / f"answers-{rank}.json").write_text(json.dumps(answers()))
    changes = {"objective": _broken()} if rank == failing else {}
    trainer = make_trainer(folder / "run", settings={"logging_steps": 1}, **changes)
    try:
        trainer.fit()
    except Diverged as error:
        (folder / f"{rank}.json").write_text(json.dumps({"error": f"{error}"}))
        return
    save_file(trainable(trainer.policy), folder / f"{rank}.safetensors")
    result = {
        "history": [asdict(e) for e in trainer.history],
        "decisions": [asdict(d) for d in trainer.decisions],
        "train_log": trainer.train_log,
    }
    (folder / f"{rank}.json").write_text(json.dumps(result))


def _broken():
    """An objective that is NaN on the first row that is retained."""
    from unskew.objectives.biasunlearn import BiasUnlearn

    class Broken(BiasUnlearn):
        def __call__(self, streams):
            values = dict(super().__call__(streams))
            if "retain" in values:
                values["retain"] = values["retain"].index_fill(0, torch.tensor([0]), torch.nan)
            return values

    return Broken()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
