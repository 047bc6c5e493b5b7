"""Who serves requests: a row for each process of each gateway, which it writes itself."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import timedelta

from sqlalchemy import Float, RowMapping, cast, delete, func, literal, null, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert

from observe.busiest import Load
from observe.loudness import Loud
from registry.orders import Answer, Holdings, Known, Process
from registry.rows.asking import Asking, rows
from registry.tables import GATEWAY_PROCESS

_ROW = GATEWAY_PROCESS.c
SILENCE_S = cast(func.extract("epoch", func.clock_timestamp() - _ROW.seen_at), Float)
"""Since a process was last heard of."""


class Processes(Asking):
    """The processes that there are, as far as they could say so."""

    async def beat(
        self, process: Process, holdings: Holdings, answers: Mapping[int, Answer], load: Load | None = None
    ) -> None:
        """Write down that *process* is there, what it has and does, and how far it is with its orders."""
        said = {
            "holdings": asdict(holdings) | ({"load": asdict(load)} if load is not None else {}),
            "answers": {str(number): asdict(answer) for number, answer in answers.items()},
        }
        new = upsert(GATEWAY_PROCESS).values(**asdict(process), **said)
        written = new.on_conflict_do_update(
            index_elements=[_ROW.id],
            set_={**said, "forget_after_s": process.forget_after_s, "seen_at": func.clock_timestamp()},
        )
        async with self._reading() as connection:  # one statement: its own transaction
            await connection.execute(written)

    async def leave(self, process: str) -> None:
        """*process* serves nobody any more."""
        async with self._reading() as connection:
            await connection.execute(delete(GATEWAY_PROCESS).where(_ROW.id == process))

    async def forget_processes(self, dead: Collection[str] = ()) -> int:
        """Forget these, and those that were silent for so long that they can serve nobody; how many."""
        is_over = _ROW.seen_at < func.clock_timestamp() - _ROW.forget_after_s * timedelta(seconds=1)
        async with self._reading() as connection:
            forgetting = delete(GATEWAY_PROCESS).where(or_(is_over, _ROW.id.in_(dead)))
            return (await connection.execute(forgetting)).rowcount

    async def processes(self, order: int | None = None, *, holdings: bool = False) -> list[Known]:
        """Every process that may serve requests, by gateway; with its answer to *order*.

        Args:
            holdings: Whether to read what each has, too.
        """
        columns = [column for column in GATEWAY_PROCESS.columns if column.name not in {"holdings", "answers"}]
        wanted = select(
            *columns,
            SILENCE_S.label("silent_s"),
            (_ROW.holdings if holdings else null()).label("holdings"),
            (null() if order is None else _ROW.answers[literal(str(order))]).label("answer"),
        ).order_by(_ROW.gateway, _ROW.started_at, _ROW.id)
        async with self._reading() as connection:
            return [_known(found) for found in await rows(connection, wanted)]


def _known(found: RowMapping) -> Known:
    process = Process(
        found["id"], found["gateway"], found["machine"], found["pid"], found["version"],
        found["forget_after_s"],
    )  # fmt: skip
    held, answer = found["holdings"], found["answer"]
    has = Holdings()
    if held is not None:
        log = Loud(**held["log"]) if held.get("log") is not None else None  # a former version tells none
        has = Holdings(tuple(held["pools"]), tuple(held["budgets"]), held["more_pools"], log)
    said = Answer(**answer) if answer is not None else None
    return Known(process, found["started_at"], max(0.0, found["silent_s"]), has, said)
