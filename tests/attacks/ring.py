"""A duel of one arm on one tier, and its judge."""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import uuid4

from tests.attacks.attack import Attack, Sign
from tests.attacks.ground import LOOK_ROWS, Ground

_LOOK_S = 5.0
"""A victim that waits longer than that for its own few rows is disturbed."""
_HELD_S = 0.2
_ATTACK_S = 20.0
_HASH = 32
"""Of a state's text; what sessions keep locked stands behind it."""
_MORE_TRIES = 2
_WAITS = "the victim waits for the attack"
_LOOKS = 40
_BETWEEN_S = 0.05
_CHARACTERS = {"nl": "\n", "cr": "\r", "ff": "\f", "nbsp": "\u00a0", "bom": "\ufeff", "nul": "\0"}


class Verdict(StrEnum):
    """What became of an attack."""

    CONTAINED = "contained"
    LEAKED = "leaked"
    DISTURBED = "disturbed"


@dataclass(frozen=True, slots=True)
class Reply:
    """All that an attacker was told.

    Attributes:
        text: Values and column names, or every field of the error.
        last: The values of the last statement; empty after an error.
    """

    text: str
    last: tuple[str | None, ...] = ()

    @property
    def tells(self) -> bool:
        """Whether it was answered with more than null and zero."""
        return any(value not in {None, "", "0", "0.0", "-1", "f", "{}"} for value in self.last)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, and what it goes by."""

    verdict: Verdict
    why: str = ""


CONTAINED = Outcome(Verdict.CONTAINED)
Strike = Callable[[Sequence[str]], Awaitable[Reply]]
"""Sends statements as the attacker in one transaction."""
Look = Callable[[], Awaitable[str]]
"""What the victim sees of its rows and its session, by a request of its own."""


@dataclass(slots=True)
class Ring:
    """Where one attacker meets one victim.

    Attributes:
        words: What stands for names in braces, besides what the ground gives.
        renew: Throws away every connection of both.
        is_frail: The attacker keeps a session that no victim uses: what it breaks there would only
            be in the way of its next attack.
    """

    strike: Strike
    look: Look
    ground: Ground
    words: Mapping[str, str]
    renew: Callable[[], Awaitable[None]]
    is_frail: bool = False
    seen: str = ""
    state: str = ""

    async def judge(self, attack: Attack) -> Outcome:
        """Let *attack* run and say what became of it; afterwards all is as it was."""
        if not self.seen:
            self.seen, self.state = await self.look(), await self.ground.state()
        match attack.sign:
            case Sign.GUESS:
                outcome = await self._compare_guesses(attack)
            case Sign.CHANGE:
                outcome = await self._compare_times(attack)
            case _:
                outcome = await self._watch(attack)
        if self.is_frail:
            await self.renew()
        if attack.writes:
            await self.ground.mend_attacker()
        left = await self._inspect()
        if left.verdict is not Verdict.CONTAINED:
            await self._restore()
        return left if outcome.verdict is Verdict.CONTAINED else outcome

    async def _restore(self) -> None:
        await self.renew()
        await self.ground.mend()
        self.seen, self.state = await self.look(), await self.ground.state()

    async def _watch(self, attack: Attack) -> Outcome:
        """One may end by chance while the victim is answered; one that is waited for is so each time."""
        requests = self._aim(attack)
        outcome = await self._watch_once(attack, requests)
        for _ in range(_MORE_TRIES):
            if outcome.why == f"meanwhile {_WAITS}":
                outcome = await self._watch_once(attack, requests)
        return outcome

    async def _watch_once(self, attack: Attack, requests: Sequence[Sequence[str]]) -> Outcome:
        disturbance = ""
        async with asyncio.timeout(_ATTACK_S), asyncio.TaskGroup() as tasks:
            attacking = tasks.create_task(self._send(requests), name=attack.id)
            if attack.is_held:
                await asyncio.wait({attacking}, timeout=_HELD_S)
                disturbance = await self._meanwhile(attacking)
        replies = attacking.result()
        for reply in replies:
            if found := self._secrets_in(reply.text, requests):
                return Outcome(Verdict.LEAKED, found)
        if disturbance:
            return Outcome(Verdict.DISTURBED, f"meanwhile {disturbance}")
        last = replies[-1]
        if attack.sign is Sign.ANSWER and last.tells:
            return Outcome(Verdict.LEAKED, f"answered: {last.text[:80]}")
        if attack.sign is Sign.SENT and last.last and last.last != (None,):
            return Outcome(Verdict.DISTURBED, f"done: {last.text[:80]}")
        return CONTAINED

    async def _compare_guesses(self, attack: Attack) -> Outcome:
        mark = self.ground.victim.mark
        right = {"guess": mark, "guess_id": self.ground.victim.member}
        wrong = {"guess": secrets.token_hex(len(mark) // 2), "guess_id": str(uuid4())}
        answers = []
        for guess in (wrong, right):
            requests = self._aim(attack, guess)
            replies = await self._send(requests)
            answers.append([_plain(reply.text, *guess.values()) for reply in replies])
            if attack.writes:
                await self.renew()
                await self.ground.mend_attacker()
            if found := next((s for r in replies if (s := self._secrets_in(r.text, requests))), ""):
                return Outcome(Verdict.LEAKED, found)
        if answers[0] != answers[1]:
            return Outcome(
                Verdict.LEAKED, f"a right guess gives {answers[1]}, a wrong one {answers[0]}"[:300]
            )
        return CONTAINED

    async def _compare_times(self, attack: Attack) -> Outcome:
        requests = self._aim(attack)
        before = await self._send(requests)
        async with self.ground.changed():
            after = await self._send(requests)
        if found := next((s for r in after if (s := self._secrets_in(r.text, requests))), ""):
            return Outcome(Verdict.LEAKED, found)
        if [_plain(reply.text) for reply in before] != [_plain(reply.text) for reply in after]:
            return Outcome(Verdict.LEAKED, f"before {before[-1].text[:120]}, after {after[-1].text[:120]}")
        return CONTAINED

    async def _inspect(self) -> Outcome:
        """What the attack has left behind."""
        if disturbance := await self._disturbance():
            return Outcome(Verdict.DISTURBED, f"afterwards {disturbance}")
        if not await self.ground.is_left_alone():
            return Outcome(Verdict.DISTURBED, "the victim's session has been ended")
        state = await self.ground.state()
        for _ in range(_LOOKS):  # a failed transaction is rolled back once its answer is out
            if state == self.state or state[:_HASH] != self.state[:_HASH]:
                break
            await asyncio.sleep(_BETWEEN_S)
            state = await self.ground.state()
        if state != self.state:
            return Outcome(Verdict.DISTURBED, f"left behind: {self.state} became {state}")
        return CONTAINED

    async def _meanwhile(self, attacking: asyncio.Task[list[Reply]]) -> str:
        """What keeps the victim from being answered before the attack is over."""
        if attacking.done():
            return ""
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(self._disturbance(), name="look")
            await asyncio.wait({attacking, looking}, return_when=asyncio.FIRST_COMPLETED)
            if not looking.done():
                return _WAITS
        return looking.result()

    async def _disturbance(self) -> str:
        try:
            async with asyncio.timeout(_LOOK_S):
                seen = await self.look()
        except TimeoutError:
            return "the victim waits"
        return "" if seen == self.seen else f"the victim sees {seen!r}, not {self.seen!r}"

    async def _send(self, requests: Sequence[Sequence[str]]) -> list[Reply]:
        return [await self.strike(request) for request in requests]

    def _aim(self, attack: Attack, more: Mapping[str, str] | None = None) -> list[list[str]]:
        ground = self.ground
        words = {
            "victim": ground.victim.tenant,
            "schema": ground.victim.schema,
            "mark": ground.victim.mark,
            "member": ground.victim.member,
            "me": ground.attacker.tenant,
            "my_mark": ground.attacker.mark,
            "pid": str(ground.pid),
            "blob": str(ground.blob),
            "look": LOOK_ROWS,
            **_CHARACTERS,
            **self.words,
            **(more or {}),
        }
        pattern = re.compile(r"\{(" + "|".join(words) + r")\}")
        return [[pattern.sub(lambda m: words[m[1]], text) for text in request] for request in attack.requests]

    def _secrets_in(self, told: str, requests: Sequence[Sequence[str]]) -> str:
        """The first thing in *told* that only others know, but for what the attacker has written himself."""
        sent = "\n".join(text for request in requests for text in request)
        for party in (self.ground.hidden, self.ground.victim):
            for secret in (party.mark, party.tenant, *party.names):
                if secret in told and secret not in sent:
                    return f"it was told {secret!r}: …{told[max(0, told.find(secret) - 60) :][:120]}…"
        return ""


def _plain(told: str, *guesses: str) -> str:
    """*told* without the guess itself, ids made by chance, and the number of a prepared statement."""
    for guess in guesses:
        told = told.replace(guess, "GUESS")
    told = re.sub(r'prepared statement \\*"\w*', "prepared statement", told)
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", told)
