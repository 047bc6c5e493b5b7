"""One frame: what is to be seen, in lines that fit the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from rich.text import Text

from tiergate.cli.following import progress
from tiergate.cli.top.state import Page, Sort, State, is_meant
from tiergate.cli.top.table import BAD, Column, Line, crop, lines, wrap
from tiergate.cli.top.trouble import Trouble, Weight, troubles
from tiergate.cli.top.view import Fullness, Row, TierPace, View

_ROOMY = 30


def _text(title: str, width: int, rank: int = 0) -> Column:
    return Column(title, width, rank, is_text=True)


_TIERS = (
    _text("TIER", 10), Column("req/s", 7), Column("err/s", 6), Column("p50", 6, 3), Column("p99", 6),
    Column("waiting", 7), Column("active", 6, 4), Column("idle", 5, 5), _text("MOSTLY", 20, 2),
)  # fmt: skip
_CLUSTERS = (
    _text("CLUSTER", 12), _text("TIER", 10, 4), Column("state", 5), Column("used", 5, 1), Column("max", 5, 1),
    Column("active", 6), Column("idle", 5, 3), Column("opening", 7, 5), Column("waiting", 7),
)  # fmt: skip
_TENANTS = (
    _text("TENANT", 12), _text("TIER", 10, 5), _text("CLUSTER", 10, 4),
    Column("req/s", 7), Column("err/s", 6), Column("waiting", 8),
    Column("first", 6, 3), Column("conns", 6, 2), _text("LAST ERROR", 16, 1),
)  # fmt: skip
_SORTED = {Sort.REQUESTS: "req/s", Sort.ERRORS: "err/s", Sort.WAITING: "waiting", Sort.TIME: "conns"}
_MOVES = (_text("MOVE", 10), _text("FROM", 10, 2), _text("TO", 10, 1), _text("HOW FAR", 16))
_HELP = """
 s          sort tenants by the next of requests, errors, waiting, time;
            a star marks the column
 r e w t    sort tenants by requests, errors, waiting, time in the database
 / f        type a filter: tenants and moves by tenant, tier or cluster
            Enter keeps it, Esc removes it
 p Space    pause, and go on
 c          clusters, or the pools on them
 a          everything that is wrong, with the command for each
 h ?        this page; any key goes back
 q Ctrl-C   leave

 Tiers are those of the gateway that is asked, over the last 10 s.
 Clusters, pools and tenants are those of all processes of all gateways,
 which write down every 5 s what they have and whom they serve.

 err/s    requests that were not answered with ok, the callers' mistakes too
 first    for how long the first of those that wait has waited
 conns    connections in use, on average
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a frame is made of.

    Attributes:
        view: None before the first answer.
        silence: Why there is no answer now, if so; else empty.
    """

    address: str
    interval_s: float
    view: View | None
    silence: str = ""
    is_live: bool = True


def frame(shown: Shown, state: State, width: int, height: int) -> list[Text]:
    """The lines of a frame, no more than *height*, none wider than *width*."""
    view = shown.view
    found = troubles(view) if view is not None else []
    if shown.silence:
        do = "Start it, or name another gateway: --admin URL"
        found.insert(0, Trouble(Weight.ISOLATION, f"The gateway does not answer: {shown.silence}", do))
    top = [_title(shown, state, width)]
    foot = [_foot(state, width)] if shown.is_live else []
    room = max(0, height - len(top) - len(foot))
    body: list[Text] = []
    match state.page:
        case Page.HELP:
            body = [Text(crop(line, width)) for line in _HELP.strip("\n").splitlines()]
        case Page.TROUBLE:
            body = _alarm(found[:room], width, most=room, lines_each=3)
        case Page.ALL:
            most = 1 if height < _ROOMY else 3
            body = _alarm(found, width, most=most, lines_each=2)
            if view is not None:
                body += _tables(view, state, width, room - len(body))
    return [*top, *body[:room], *[Text("")] * max(0, room - len(body) if shown.is_live else 0), *foot][
        :height
    ]


def _title(shown: Shown, state: State, width: int) -> Text:
    parts = ["tiergate top", shown.address]
    if shown.view is not None:
        count, silent = shown.view.processes, shown.view.silent
        told = f"{count} process" + "es" * (count != 1) + (f", {silent} silent" if silent else "")
        parts += [told] * ("/gateways" not in shown.view.refused) + [f"registry {shown.view.registry}"]
    parts.append("PAUSED" if state.is_paused else f"{datetime.now(UTC):%H:%M:%S} UTC")
    return Text(crop("  ".join(parts), width), style="bold")


def _alarm(found: Sequence[Trouble], width: int, *, most: int, lines_each: int) -> list[Text]:
    if not found:
        return [Text(crop("All is well, as far as is told.", width), style="green")]
    told = []
    for number, each in enumerate(found[:most]):
        more = len(found) - most if number == most - 1 else 0
        what = each.what + (f" (+{more}: key a)" if more > 0 else "")
        style = "yellow" if each.weight is Weight.NOTED else BAD
        told += [
            Text(("! " if not line else "  ") + part, style=style)
            for line, part in enumerate(wrap(what, max(1, width - 2), most=lines_each))
        ]
        told += [Text(f"  {part}") for part in wrap(f"-> {each.do}", max(1, width - 2), most=lines_each)]
    return [Text(crop(line.plain, width), style=line.style) for line in told]


def _tables(view: View, state: State, width: int, room: int) -> list[Text]:
    body = lines(_TIERS, [_tier(each) for each in view.tiers], width)
    room -= len(body)
    moves = [
        move
        for move in view.moves
        if is_meant(state, move["tenant"], *(move[end][word] for end in ("from", "to") for word in _ENDS))
    ]
    full = view.pools if state.by_pool else view.clusters
    if state.by_pool:
        full = tuple(each for each in full if is_meant(state, each.name, each.cluster, each.tier))
    shown_moves = moves[: max(2, room // 5)]
    shown_full = full[: max(3, room // (2 if state.by_pool else 4))]
    name = "POOL" if state.by_pool else "CLUSTER"
    body += lines(_titled(_CLUSTERS, name, shown_full, full), [_fullness(each) for each in shown_full], width)
    room -= 1 + len(shown_full)
    if moves:
        body += lines(
            _titled(_MOVES, "MOVE", shown_moves, moves), [_move(each) for each in shown_moves], width
        )
        room -= 1 + len(shown_moves)
    return body + _tenants(view, state, width, room)


_ENDS = ("tier", "cluster")


def _tenants(view: View, state: State, width: int, room: int) -> list[Text]:
    found = chosen(view.tenants, state)
    title = f"TENANT {state.filter!r}" if state.filter else "TENANT"
    marked = [
        replace(column, title=f"*{column.title}") if column.title == _SORTED[state.sort] else column
        for column in _TENANTS
    ]
    rows = [_tenant(each) for each in found[: max(0, room - 1)]]
    body = lines((replace(marked[0], title=title), *marked[1:]), rows, width)
    if not rows and room > 1:
        body.append(Text(crop(_nobody(view, state), width)))
    return body


def _nobody(view: View, state: State) -> str:
    if (code := view.refused.get("/busiest")) is not None:
        return f" Not told: {code}."
    return " Nobody matches." if state.filter and view.tenants else " Nobody asks for anything."


def chosen(tenants: Sequence[Row], state: State) -> list[Row]:
    """The tenants that the filter lets through, in the order that was chosen."""
    meant = (each for each in tenants if is_meant(state, each["tenant"], each["tier"], each["cluster"]))
    return sorted(meant, key=lambda each: (*(-part for part in state.sort.of(each)), str(each["tenant"])))


def _titled(
    columns: Sequence[Column], name: str, shown: Sequence[object], whole: Sequence[object]
) -> Sequence[Column]:
    """With how many are shown, when that is not all."""
    title = name if len(shown) == len(whole) else f"{name} {len(shown)} of {len(whole)}"
    return (replace(columns[0], title=title), *columns[1:])


def _tier(each: TierPace) -> Line:
    cells = (
        each.tier, pace(each.requests_per_s), pace(each.errors_per_s), duration(each.p50_s),
        duration(each.p99_s), str(each.waiting), str(each.active), str(each.idle), each.mostly or "",
    )  # fmt: skip
    return Line(cells, is_bad=each.errors_per_s > 0 and each.errors_per_s >= each.requests_per_s / 20)


def _fullness(each: Fullness) -> Line:
    used, most = (str(each.used), str(each.max)) if each.max else ("", "")
    cells = (
        each.name, each.tier, "up" if each.is_up else "DOWN", used, most,
        str(each.active), str(each.idle), str(each.opening), str(each.waiting),
    )  # fmt: skip
    return Line(cells, is_bad=not each.is_up or bool(each.max and each.used >= each.max and each.waiting))


def _tenant(each: Row) -> Line:
    waits_s = float(each["oldest_s"]) if each["waiting"] else None
    errors = float(each["errors_per_s"])
    cells = (
        str(each["tenant"]), str(each["tier"] or "-"), str(each["cluster"] or "-"),
        pace(each["requests_per_s"]), pace(errors),
        str(each["waiting"]), duration(waits_s), pace(each["connections"]), each["error"] or "",
    )  # fmt: skip
    return Line(cells, is_bad=errors > 0 and errors >= float(each["requests_per_s"]) / 20)


def _move(each: Row) -> Line:
    far = progress(each).removeprefix(f"{each['tenant']}: ")
    far = f"paused, {far}" if each["is_paused"] else far
    return Line(
        (str(each["tenant"]), each["from"]["cluster"], each["to"]["cluster"], far), bool(each["error"])
    )


def _foot(state: State, width: int) -> Text:
    if state.is_typing:
        return Text(crop(f"Filter: {state.filter}_   Enter keeps it, Esc removes it", width), style="bold")
    other = "clusters" if state.by_pool else "pools"
    keys = f"q quit  h help  s sort:{state.sort}  / filter  p pause  c {other}  a all troubles"
    return Text(crop(keys, width), style="dim")


def pace(per_s: float) -> str:
    """How often a second, in eight characters at most."""
    if per_s < 100:  # noqa: PLR2004 - three digits are enough
        return f"{per_s:.1f}"
    return f"{per_s:.0f}" if per_s < 100_000 else f"{per_s / 1000:.0f}k"  # noqa: PLR2004 - the same


def duration(seconds: float | None) -> str:
    """A time, in seven characters at most."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.1f}ms" if seconds < 0.1 else f"{seconds * 1000:.0f}ms"  # noqa: PLR2004 - three digits
    return f"{seconds:.1f}s" if seconds < 100 else f"{seconds:.0f}s"  # noqa: PLR2004 - the same
