"""Statements as SQLAlchemy writes them for Postgres: what an application with its ORM sends, broadly."""
# ruff: noqa: E501, PLR2004 - a list of samples, whose numbers mean nothing

from collections.abc import Iterator
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, relationship
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import ClauseElement


class Base(DeclarativeBase):
    """The tables that the statements are about."""

    metadata = sa.MetaData(schema="app")


class Member(Base):
    """Somebody who works."""

    __tablename__ = "members"
    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    email: Mapped[str] = mapped_column(sa.Text, unique=True)
    name: Mapped[str]
    roles: Mapped[list[str]] = mapped_column(pg.ARRAY(sa.Text))
    settings: Mapped[dict[str, object]] = mapped_column(pg.JSONB)
    joined_at: Mapped[date] = mapped_column(sa.DateTime(timezone=True), server_default=sa.func.now())
    boss_id: Mapped[int | None] = mapped_column(sa.ForeignKey("app.members.id"))
    tasks: Mapped[list["Task"]] = relationship(back_populates="member")


class Task(Base):
    """Something to be done."""

    __tablename__ = "tasks"
    id: Mapped[str] = mapped_column(sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid())
    member_id: Mapped[int] = mapped_column(sa.ForeignKey("app.members.id"))
    title: Mapped[str] = mapped_column(sa.String(200))
    body: Mapped[str | None]
    state: Mapped[str] = mapped_column(pg.ENUM("open", "done", name="task_state"))
    minutes: Mapped[int | None]
    price: Mapped[float] = mapped_column(sa.Numeric(12, 2))
    during: Mapped[object] = mapped_column(pg.TSTZRANGE)
    details: Mapped[dict[str, object]] = mapped_column(sa.JSON)
    found: Mapped[object] = mapped_column(pg.TSVECTOR)
    member: Mapped[Member] = relationship(back_populates="tasks")


def sqlalchemy_statements() -> list[str]:
    """All of them, for both drivers' ways to write parameters, each once."""
    dialects = [pg.dialect(paramstyle="numeric_dollar"), pg.asyncpg.dialect()]  # type: ignore[no-untyped-call]
    clauses = [*_conditions(), *_expressions(), *_queries(), *_changes()]
    return sorted({str(clause.compile(dialect=dialect)) for clause in clauses for dialect in dialects})


def _conditions() -> Iterator[ClauseElement]:
    conditions: list[ColumnElement[bool]] = [
        Task.id == "0", Task.minutes != 3, Task.minutes > 3, Task.minutes.between(1, 9), Task.minutes.in_([1, 2, 3]),
        Task.minutes.not_in([1, 2]), Task.body.is_(None), Task.body.is_not(None), Task.title.like("a%"),
        Task.title.ilike("%a%"), Task.title.not_ilike("a"), Task.title.startswith("a"), Task.title.contains("a"),
        Task.title.icontains("a"), Task.title.regexp_match("^a"), Task.title.regexp_match("^a", "i"),
        Task.title.op("~*")("a"), Task.title.collate("C") > "a", Task.minutes.is_distinct_from(3),
        sa.and_(*(Task.minutes > n for n in range(20))), sa.or_(*(Task.minutes == n for n in range(20))),
        sa.not_(sa.or_(Task.minutes == 1, Task.minutes == 2)), sa.tuple_(Task.minutes, Task.title).in_([(1, "a"), (2, "b")]),
        sa.tuple_(Task.minutes, Task.title) > sa.tuple_(sa.literal(1), sa.literal("a")),
        Task.minutes == sa.any_(sa.literal([1, 2], pg.ARRAY(sa.Integer))), Task.minutes == sa.func.any(Task.minutes),
        Member.roles.contains(["a"]), Member.roles.overlap(["a"]), Member.roles.contained_by(["a"]),
        Member.roles[1] == "a", Member.settings.contains({"a": 1}), Member.settings.has_key("a"),
        Member.settings.has_any(pg.array(["a"])), Member.settings["a"]["b"].astext == "x",
        Member.settings[("a", "b")].as_integer() == 1, Member.settings.path_exists("$.a"), Member.settings.path_match("$.a > 1"),
        Task.details["a"].as_string() == "x", Task.during.contains(sa.func.now()), Task.during.overlaps("[2030-01-01,)"),
        Task.found.match("a & b"), Task.found.bool_op("@@")(sa.func.websearch_to_tsquery("english", "a b")),
        sa.func.to_tsvector("english", Task.body).bool_op("@@")(sa.func.plainto_tsquery("english", "a")),
        sa.func.lower(Task.title) == "a", sa.extract("year", Member.joined_at) == 2030, Task.state == "open",
        sa.cast(Task.minutes, sa.String) == "1", sa.exists().where(Task.member_id == Member.id),
        Member.tasks.any(Task.state == "open"), Task.member.has(Member.name == "a"), Task.member_id.in_(sa.select(Member.id)),
        Task.minutes > sa.select(sa.func.avg(Task.minutes)).scalar_subquery(), sa.true(), sa.false(),
        sa.func.coalesce(Task.minutes, 0) > 1, Member.joined_at > sa.func.now() - sa.text("interval '1 day'"),
        Member.joined_at.between(date(2030, 1, 1), date(2031, 1, 1)), sa.literal(5) <= sa.all_(sa.select(Task.minutes).scalar_subquery()),
    ]  # fmt: skip
    for condition in conditions:
        yield sa.select(Task.id).where(condition)
        yield sa.update(Task).where(condition).values(minutes=Task.minutes + 1)
        yield sa.delete(Task).where(condition).returning(Task.id)


def _expressions() -> Iterator[ClauseElement]:
    f = sa.func
    window: Any = {
        "partition_by": Task.member_id,
        "order_by": Task.minutes.desc(),
    }  # Any: keywords of many types
    for expression in (
        f.count(), f.count(Task.id.distinct()), f.sum(Task.minutes), f.avg(Task.price), f.max(Task.price), f.array_agg(Task.id),
        f.json_agg(Task.title), f.jsonb_build_object("a", Task.title), f.json_build_array(1, 2), f.to_jsonb(Task.title),
        f.row_to_json(sa.text("tasks")), f.string_agg(Task.title, ","),
        f.string_agg(Task.title, pg.aggregate_order_by(sa.literal(","), Task.title)), f.count().filter(Task.minutes > 1),
        f.percentile_cont(0.5).within_group(Task.minutes), f.mode().within_group(Task.state), f.row_number().over(**window),
        f.rank().over(**window), f.lag(Task.minutes, 1).over(**window), f.sum(Task.minutes).over(**window, rows=(-1, 0)),
        f.sum(Task.minutes).over(range_=(None, 0), order_by=Task.minutes), f.first_value(Task.title).over(**window),
        sa.case((Task.minutes > 1, "a"), else_="b"), sa.case({1: "a", 2: "b"}, value=Task.minutes), f.coalesce(Task.body, ""),
        f.nullif(Task.minutes, 0), f.greatest(Task.minutes, 1), f.least(1, 2), f.lower(Task.title), f.concat(Task.title, "x"),
        Task.title + "x", Task.title.concat("x"), f.substring(Task.title, 1, 3), f.length(Task.title), f.trim(Task.title),
        f.replace(Task.title, "a", "b"), f.regexp_replace(Task.title, "a", "b", "g"), f.split_part(Task.title, ",", 1),
        f.md5(Task.title), f.to_char(Member.joined_at, "YYYY"), f.date_trunc("day", Member.joined_at), f.now(),
        f.current_timestamp(), f.current_date(), f.localtime(), sa.func.age(Member.joined_at), sa.extract("epoch", Member.joined_at),
        f.date_part("dow", Member.joined_at), Member.joined_at.op("AT TIME ZONE")("UTC"), f.timezone("UTC", Member.joined_at),
        sa.cast(Task.minutes, sa.Numeric(10, 2)), sa.cast("1", pg.UUID), sa.cast(Task.details, pg.JSONB), sa.cast("2030-01-01", sa.Date),
        sa.cast("{}", pg.ARRAY(sa.Integer)), sa.cast("1 day", pg.INTERVAL), sa.cast("a", pg.BYTEA), sa.cast("10.0.0.1", pg.INET),
        sa.cast("a", pg.ENUM("open", "done", name="task_state", schema="app")), sa.cast(1, sa.Boolean), sa.cast(1, sa.BigInteger),
        sa.type_coerce(Task.minutes, sa.String), pg.array([1, 2, 3]), pg.array([Task.minutes, 1]), f.unnest(Member.roles),
        f.array_length(Member.roles, 1), f.array_append(Member.roles, "a"), f.array_to_string(Member.roles, ","), f.cardinality(Member.roles),
        Member.settings["a"], Member.settings[("a", "b")].astext, f.jsonb_set(Member.settings, "{a}", "1"), f.jsonb_typeof(Member.settings),
        f.jsonb_array_elements(Member.settings["a"]), f.jsonb_array_length(Member.settings), Member.settings.delete_path(["a"]),
        f.ts_rank(Task.found, f.to_tsquery("a")), f.ts_headline("english", Task.body, f.to_tsquery("a")), f.gen_random_uuid(),
        f.random(), f.round(Task.price, 2), f.abs(Task.minutes), f.floor(Task.price), f.mod(Task.minutes, 2), Task.minutes % 2,
        -Task.minutes, Task.minutes / 2, Task.minutes // 2, Task.minutes.bitwise_and(3), f.lower(Task.during), f.upper(Task.during),
        f.generate_series(1, 3), sa.literal(1), sa.null(), f.pg_typeof(Task.minutes), f.similarity(Task.title, "a"),
        Task.title.collate("de-x-icu"), sa.func.grouping(Task.state), f.bool_and(Task.minutes > 1), f.stddev(Task.price), f.count(sa.text("*")),
    ):  # fmt: skip
        yield sa.select(expression)
        yield sa.select(Task.state, expression).join(Member).group_by(Task.state).order_by(expression)


def _queries() -> Iterator[ClauseElement]:
    boss = aliased(Member, name="boss")
    busy = sa.select(Task.member_id, sa.func.count().label("n")).group_by(Task.member_id).cte("busy")
    above = sa.select(Member.id, Member.boss_id).where(Member.id == 1).cte("above", recursive=True)
    above = above.union_all(sa.select(Member.id, Member.boss_id).join(above, Member.id == above.c.boss_id))
    latest = (
        sa.select(Task).where(Task.member_id == Member.id).order_by(Task.minutes).limit(1).lateral("latest")
    )
    given = sa.values(sa.column("a", sa.Integer), sa.column("b", sa.String), name="given").data(
        [(1, "x"), (2, "y")]
    )
    series = sa.func.generate_series(1, 10).table_valued("n", with_ordinality="at", name="s")
    rows = sa.func.json_to_recordset(sa.literal("[]")).table_valued(
        sa.column("a", sa.Integer), sa.column("b", sa.Text), name="r"
    )
    yield sa.select(Member)
    yield (
        sa.select(Member, Task)
        .join(Task)
        .where(Task.state == "open")
        .order_by(Member.name.asc().nulls_last())
        .limit(10)
        .offset(20)
    )
    yield sa.select(Member.name, boss.name).outerjoin(boss, Member.boss_id == boss.id)
    yield sa.select(Member).join(Task, full=True)
    yield sa.select(Member.id).distinct()
    yield sa.select(Member).ext(pg.distinct_on(Member.name)).order_by(Member.name)
    yield sa.select(Member, busy.c.n).join(busy, busy.c.member_id == Member.id)
    yield sa.select(above)
    yield sa.select(Member.name, latest).join(latest, sa.true(), isouter=True)
    yield sa.select(given)
    yield sa.select(Member).join(given, Member.id == given.c.a)
    yield sa.select(series)
    yield sa.select(rows.render_derived(with_types=True))
    yield sa.select(sa.func.jsonb_each_text(Member.settings).table_valued("key", "value"))
    yield sa.select(sa.func.unnest(Member.roles).column_valued("role"), Member.id)
    for lock in (
        {},
        {"nowait": True},
        {"skip_locked": True},
        {"read": True},
        {"key_share": True},
        {"of": Task},
    ):
        yield sa.select(Task).join(Member).with_for_update(**lock)
    for combine in (sa.union, sa.union_all, sa.except_, sa.intersect):
        yield (
            combine(sa.select(Task.id).limit(1), sa.select(Task.id).order_by(Task.id)).order_by("id").limit(3)
        )
    for sets in (sa.func.rollup(Task.state), sa.func.cube(Task.state, Task.minutes)):
        yield sa.select(Task.state, sa.func.count()).group_by(sets).having(sa.func.count() > 1)
    yield sa.select(Task.state).group_by(
        sa.func.grouping_sets(sa.tuple_(Task.state), sa.tuple_(Task.minutes))
    )
    yield sa.select(sa.func.count()).select_from(sa.select(Task).subquery())
    yield sa.select(Task).fetch(5, with_ties=True).order_by(Task.minutes)
    yield sa.select(sa.exists(sa.select(Task.id)))
    yield sa.select(Member).where(
        Member.id.in_(sa.select(Task.member_id).where(Task.minutes > 5).correlate(None))
    )


def _changes() -> Iterator[ClauseElement]:
    one = {"member_id": 1, "title": "a", "state": "open", "price": 1}
    yield sa.insert(Task).values(**one)
    yield sa.insert(Task).values(**one).returning(Task)
    yield sa.insert(Task).values([one] * 20).returning(Task.id)
    yield sa.insert(Task).from_select(["title", "member_id"], sa.select(Member.name, Member.id))
    yield sa.insert(Member).values(
        email=sa.func.lower("A"), name=sa.bindparam("n"), settings={"a": 1}, roles=["a"]
    )
    yield pg.insert(Task).values(**one).on_conflict_do_nothing()
    yield (
        pg.insert(Task)
        .values(**one)
        .on_conflict_do_nothing(index_elements=[Task.id], index_where=Task.minutes > 1)
    )
    upsert = pg.insert(Member).values(email="a", name="b")
    yield upsert.on_conflict_do_update(index_elements=[Member.email], set_={"name": upsert.excluded.name})
    yield upsert.on_conflict_do_update(
        constraint="members_email_key",
        set_={"name": upsert.excluded.name},
        where=Member.name != upsert.excluded.name,
    ).returning(Member.id, sa.literal_column("xmax = 0"))
    yield (
        sa.update(Task)
        .values(minutes=Task.minutes + 1)
        .where(Task.member_id == Member.id, Member.name == "a")
    )
    yield sa.update(Task).values(
        title=sa.select(Member.name).where(Member.id == Task.member_id).scalar_subquery()
    )
    yield sa.update(Member).values({Member.settings["a"]: "1", Member.roles[2]: "x"})
    yield (
        sa.update(Member)
        .values(joined_at=sa.func.now(), name=sa.case((Member.id > 1, "a"), else_="b"))
        .returning(Member)
    )
    yield sa.delete(Task).where(Task.member_id == Member.id, Member.name == "a")
    gone = sa.delete(Task).where(Task.minutes > 9).returning(Task.member_id).cte("gone")
    yield sa.select(Member).where(Member.id.in_(sa.select(gone.c.member_id)))
    yield sa.insert(Member).from_select(["email"], sa.select(sa.cast(gone.c.member_id, sa.Text)))
