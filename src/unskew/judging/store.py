"""Replies of judges on disk, found again by what was asked."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from threading import Lock
from typing import Any

from unskew.chat import JudgePrompt, JudgeReply
from unskew.errors import DataError, StorageError
from unskew.files import write_text


def key_of(judge: str, prompt: JudgePrompt, max_tokens: int) -> str:
    """Hash of all that a reply depends on: the judge, the version of the prompt, its words.

    Args:
        judge: Identity of the judge: model, endpoint, temperature.
        prompt: What it is asked. Its id does not count, so equal questions are asked once.
        max_tokens: Limit of the reply.
    """
    asked = [judge, prompt.version, prompt.messages, max_tokens]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


class ReplyStore:
    """A file of JSON lines that only grows; what is in it is not asked again.

    Args:
        path: The file; it and its folder are made where needed.

    Raises:
        DataError: A line is no stored reply. The last one may be cut off, as a crash leaves it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._replies: dict[str, JudgeReply] = {}
        if path.exists():
            self._read()

    def get(self, key: str) -> JudgeReply | None:
        """The stored reply, if there is one."""
        return self._replies.get(key)

    def add(self, key: str, judge: str, prompt: JudgePrompt, reply: JudgeReply) -> None:
        """Store a reply at once, so that a run that is cut off has paid for nothing twice.

        Raises:
            StorageError: The file could not be written.
        """
        row = {
            "key": key,
            "judge": judge,
            "prompt": prompt.version,
            "messages": [list(message) for message in prompt.messages],
            "text": reply.text,
            "input_tokens": reply.input_tokens,
            "output_tokens": reply.output_tokens,
        }
        with self._lock:
            self._replies[key] = reply
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                    stream.flush()
                    os.fsync(stream.fileno())
            except OSError as error:
                raise StorageError(
                    f"cannot write {self.path}: {error.strerror}; free some space and repeat the "
                    "command, stored replies are not asked again"
                ) from error

    def _read(self) -> None:
        try:
            content = self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{self.path}: cannot be read: {error}; name another file") from error
        whole, _, last = content.rpartition("\n")
        for number, line in enumerate(whole.split("\n"), start=1):
            if line.strip() and not self._keep(line):
                raise DataError(f"{self.path}, line {number}: is no stored reply; delete the line")
        if last:
            # Cut off while it was written; without its end the next reply would join it.
            kept = f"{last}\n" if self._keep(last) else ""
            write_text(self.path, f"{whole}\n{kept}" if whole else kept)

    def _keep(self, line: str) -> bool:
        """Take up a line; whether it is a stored reply."""
        try:
            row: Any = json.loads(line)
            reply = JudgeReply(row["text"], row["input_tokens"], row["output_tokens"])
            self._replies[row["key"]] = reply
        except (ValueError, KeyError, TypeError):
            return False
        return True
