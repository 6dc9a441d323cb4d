"""Brings the outputs of a job from one host to another: whole or not at all, and never twice what is there already."""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.host.destination import Found, place_files, target_root
from reconciler.host.reply import HostAgent, Reply, send
from reconciler.model.ledger import COLLECTED
from reconciler.model.plan import Transfer
from reconciler.parse.fields import Malformed, one_line

PIECE_BYTES = 2 << 20
PIECES_AT_ONCE = 256
IN_FLIGHT = 3
"""Pieces that are being read, and as many that are being written: latency does not limit what gets through."""
FILES_AT_ONCE = 500
BYTES_AT_ONCE = 1 << 30
ROUNDS = 3
PATIENCE_S = 1800.0
"""A lost connection is noticed without it; this is for a host that has lost its disk."""
SLOWEST_DISK_BYTES_PER_S = 10e6
MESSAGE_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Brought:
    """What is whole in the other place now, with what was there before."""

    files: int
    bytes: int


class NotBrought(Exception):
    """Not everything is there. `kind`: disk_full, refused, failed, unreachable or lost, as the host at `place` said;
    `missing`: a pattern finds nothing on the source; `changed`: files did not stay the same while they were read."""

    def __init__(self, message: str, kind: str, place: str) -> None:
        words = message.encode("utf-8", "backslashreplace").decode()
        super().__init__(one_line(words, MESSAGE_CHARACTERS))
        self.kind = kind
        self.place = place


Progress = Callable[[int], None]


def bring(
    source: HostAgent, target: HostAgent, transfer: Transfer, on_progress: Progress = lambda _bytes: None
) -> Brought:
    """Bring the files of a transfer. What an earlier try left is continued. Raises NotBrought.

    `on_progress` hears of bytes that have arrived; what it raises ends the whole."""
    bringing = _Bringing(_Side(source, transfer.source), _Side(target, transfer.place), transfer, on_progress)
    try:
        for _ in range(ROUNDS):
            files = [file for file in bringing.find() if not file.is_folder]
            if bringing.fetch(files):
                return Brought(len(files), sum(file.size for file in files))
    except (LookupError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
        raise NotBrought(f"a host gave an answer that cannot be right ({why})", "failed", transfer.source) from error
    name = min(file.source for file in bringing.changed)
    raise NotBrought(f"{name} changes while it is being read", "changed", transfer.source)


class _Side:
    """One of the two hosts."""

    def __init__(self, agent: HostAgent, place: str) -> None:
        self._agent = agent
        self.place = place
        self.name = "this machine" if place == COLLECTED else place

    def begin(self, request: dict[str, Any], work_bytes: int = 0) -> Reply:
        """Ask. `work_bytes`: how much has to be read there before an answer can come."""
        deadline_s = PATIENCE_S + work_bytes / SLOWEST_DISK_BYTES_PER_S
        return send(self._agent, {**request, "deadline_s": deadline_s})

    def end(self, reply: Reply) -> dict[str, Any]:
        """The answer. Raises NotBrought for an error."""
        answer = reply.wait() or {}
        if "error" in answer:
            kind = str(answer.get("kind", "failed"))
            where = f"the disk of {self.name} is full" if kind == "disk_full" else self.name
            raise NotBrought(f"{where}: {answer['error']}", kind, self.place)
        return answer

    def ask(self, request: dict[str, Any], work_bytes: int = 0) -> dict[str, Any]:
        return self.end(self.begin(request, work_bytes))

    def rows(self, answer: dict[str, Any], key: str, count: int) -> list[Any]:
        """A list of the answer, which has one entry for each that was asked for. Raises NotBrought."""
        rows = answer.get(key)
        if not isinstance(rows, list) or len(rows) != count:
            raise self.nonsense(f"`{key}` does not fit what was asked")
        return rows

    def nonsense(self, why: str) -> NotBrought:
        return NotBrought(f"{self.name} gave an answer that cannot be right: {why}", "failed", self.place)


@dataclass(frozen=True, slots=True)
class _Piece:
    file: Found
    offset: int
    length: int

    @property
    def is_last(self) -> bool:
        return self.offset + self.length == self.file.size


@dataclass(frozen=True, slots=True)
class _Begun:
    """How far a file is on the target."""

    file: Found
    whole: str | None
    part_bytes: int
    part: str | None
    disk: str


class _Bringing:
    def __init__(self, source: _Side, target: _Side, transfer: Transfer, on_progress: Progress) -> None:
        self._source, self._target = source, target
        self._transfer = transfer
        self._root = target_root(transfer)
        self._on_progress = on_progress
        self._done: dict[str, tuple[int, int, int]] = {}
        self.changed: set[Found] = set()
        """What changed in the last round."""
        self._digests: dict[str, Any] = {}
        self._free: dict[str, int | None] = {}

    def find(self) -> list[Found]:
        """The files as they are now, and empty folders, which it makes. Raises NotBrought."""
        transfer = self._transfer
        request = {"op": "list_files", "cwd": transfer.cwd, "patterns": list(transfer.patterns)}
        if transfer.place == COLLECTED and transfer.attempt:
            request["path"] = f"{transfer.job}/{transfer.attempt}"
        answer = self._source.ask(request)
        matched = self._source.rows(answer, "matched", len(transfer.patterns))
        # of a job that failed, whatever there is gets collected
        missing = (
            [] if transfer.place == COLLECTED else [p for p, m in zip(transfer.patterns, matched, strict=True) if not m]
        )
        if missing:
            raise NotBrought(f"{self._source.name} has nothing at {', '.join(missing)}", "missing", transfer.source)
        try:
            files = place_files(transfer, answer)
        except Malformed as error:
            raise self._source.nonsense(str(error)) from None
        for group in _groups((file.target for file in files if file.is_folder), len, PIECE_BYTES, FILES_AT_ONCE):
            self._target.ask({"op": "begin_files", "root": self._root, "folders": group, "files": []})
        return files

    def fetch(self, files: Sequence[Found]) -> bool:
        """Bring those that are not there yet. False: some changed meanwhile, so that it takes another round."""
        self.changed.clear()
        self._digests.clear()
        missing = [file for file in files if self._done.get(file.target) != file.stamp]
        offsets = self._compare(self._begin(missing))
        batches = _groups(_pieces(offsets), lambda piece: piece.length, PIECE_BYTES, PIECES_AT_ONCE)
        self._move(batches)
        return not self.changed

    def _begin(self, files: Sequence[Found]) -> Iterator[_Begun]:
        for group in _groups(files, lambda file: file.size, BYTES_AT_ONCE, FILES_AT_ONCE):
            rows = [[file.target, file.size] for file in group]
            request = {"op": "begin_files", "root": self._root, "files": rows}
            answer = self._target.ask(request, 2 * sum(file.size for file in group))
            self._free.update(answer["free"])
            for file, row in zip(group, self._target.rows(answer, "files", len(group)), strict=True):
                yield _Begun(file, *row)

    def _compare(self, begun: Iterable[_Begun]) -> dict[Found, int]:
        """Where to go on with each file that is not whole there, after a look at the same bytes on the source."""
        offsets: dict[Found, int] = {}
        needed: dict[str, int] = defaultdict(int)
        for group in _groups(begun, lambda each: each.file.size, BYTES_AT_ONCE, FILES_AT_ONCE):
            asked = [(each.file, each.file.size) for each in group if each.whole]
            asked += [(each.file, each.part_bytes) for each in group if each.part]
            digests = dict(zip(asked, self._digests_of(asked), strict=True))
            for each in group:
                if each.whole and digests[each.file, each.file.size] == each.whole:
                    self._done[each.file.target] = each.file.stamp
                    continue
                same = each.part and digests[each.file, each.part_bytes] == each.part
                offsets[each.file] = each.part_bytes if same else 0
                needed[each.disk] += each.file.size - offsets[each.file]
        self._check_room(needed)
        return offsets

    def _check_room(self, needed: dict[str, int]) -> None:
        """A disk that cannot take it all is not filled first: jobs may be writing to it."""
        for disk, bytes_needed in needed.items():
            free = self._free[disk]
            if free is not None and bytes_needed > free:
                message = f"{bytes_needed >> 20} MiB are needed on {self._target.name}, and {free >> 20} MiB are free"
                raise NotBrought(message, "disk_full", self._target.place)

    def _digests_of(self, beginnings: list[tuple[Found, int]]) -> list[Any]:
        """The SHA-256 of the first so many bytes of files on the source."""
        if not beginnings:
            return []
        rows = [[file.source, length] for file, length in beginnings]
        answer = self._source.ask({"op": "digest_files", "files": rows}, sum(length for _, length in beginnings))
        return self._source.rows(answer, "digests", len(rows))

    def _move(self, batches: Iterator[list[_Piece]]) -> None:
        """Keep several pieces on their way from the source, and several to the target."""
        reads: deque[tuple[list[_Piece], Reply]] = deque()
        writes: deque[tuple[list[_Piece], Reply]] = deque()
        while True:
            for batch in itertools.islice(batches, IN_FLIGHT - len(reads)):
                reads.append((batch, self._begin_read(batch)))
            if not reads and not writes:
                return
            if reads:
                writes.append(self._pass_on(*reads.popleft()))
            if not reads or len(writes) > IN_FLIGHT:
                self._written(*writes.popleft())

    def _begin_read(self, batch: list[_Piece]) -> Reply:
        rows = [[piece.file.source, piece.offset, piece.length] for piece in batch]
        return self._source.begin({"op": "read_pieces", "pieces": rows})

    def _pass_on(self, batch: list[_Piece], reply: Reply) -> tuple[list[_Piece], Reply]:
        answer = self._source.end(reply)
        blob = memoryview(answer.get("blob", b""))
        good, chunks, at = [], [], 0
        for piece, read in zip(batch, self._source.rows(answer, "read", len(batch)), strict=True):
            length, stamp = (0, None) if read is None else (int(read[0]), tuple(read[1][:3]))
            chunk = blob[at : at + length]
            at += length
            if length != piece.length or stamp != piece.file.stamp:
                self.changed.add(piece.file)
            if piece.file not in self.changed:
                good.append(piece)
                chunks.append(chunk)
        if at != len(blob):
            raise self._source.nonsense("pieces of another length than it says")
        finish = [self._finish(piece, chunk) for piece, chunk in zip(good, chunks, strict=True)]
        rows = [[piece.file.target, piece.offset, piece.length] for piece in good]
        request = {"op": "write_pieces", "root": self._root, "pieces": rows, "finish": [row for row in finish if row]}
        data = answer.get("blob", b"") if len(good) == len(batch) else b"".join(chunks)
        return good, self._target.begin({**request, "blob": data}, sum(row[1] for row in finish if row))

    def _finish(self, piece: _Piece, chunk: memoryview) -> list[Any] | None:
        """What makes a file whole on the target, with its last piece."""
        file = piece.file
        if piece.offset == 0:
            self._digests[file.target] = hashlib.sha256()
        digest = self._digests.get(file.target)
        if digest is not None:
            digest.update(chunk)
        if not piece.is_last:
            return None
        sha256 = self._digests_of([(file, file.size)])[0] if digest is None else digest.hexdigest()
        self._digests.pop(file.target, None)
        return [file.target, file.size, sha256, file.mtime_ns, file.mode & 0o777]

    def _written(self, batch: list[_Piece], reply: Reply) -> None:
        answer = self._target.end(reply)
        damaged = frozenset(answer.get("damaged", ()))
        for piece in batch:
            if piece.is_last and piece.file.target in damaged:
                self.changed.add(piece.file)
            elif piece.is_last:
                self._done[piece.file.target] = piece.file.stamp
        self._on_progress(sum(piece.length for piece in batch))


def _pieces(offsets: dict[Found, int]) -> Iterator[_Piece]:
    for file, offset in offsets.items():
        yield _Piece(file, offset, min(PIECE_BYTES, file.size - offset))
        for further in range(offset + PIECE_BYTES, file.size, PIECE_BYTES):
            yield _Piece(file, further, min(PIECE_BYTES, file.size - further))


def _groups(items: Iterable[Any], size: Callable[[Any], int], most: int, count: int) -> Iterator[list[Any]]:
    """In order, in groups of at most so many items whose sizes make at most so much; a larger item stands alone."""
    group: list[Any] = []
    total = 0
    for item in items:
        if group and (len(group) == count or total + size(item) > most):
            yield group
            group, total = [], 0
        group.append(item)
        total += size(item)
    if group:
        yield group
