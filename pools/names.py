"""Which statement texts a connection has prepared, and under what names."""

from collections import OrderedDict
from dataclasses import dataclass, field

# Texts are kept for each connection, here and at the server; a longer one is hardly repeated to the letter.
_LONGEST_BYTES = 16384


@dataclass(slots=True)
class Names:
    """A bounded memory of statement texts, least recently used out first.

    A text is worth a name when it comes for the second time: most texts with
    literals in them never do, and each name costs memory in the server. Of a
    text seen once the hash is enough; another one's would bring the name early.

    Attributes:
        limit: Names at most, and as many texts seen once; 0 prepares nothing.
        evicted: Names to close at the server, before anything else is sent.
    """

    limit: int
    evicted: list[bytes] = field(default_factory=list)
    _named: OrderedDict[bytes, bytes] = field(default_factory=OrderedDict)
    _seen: OrderedDict[int, None] = field(default_factory=OrderedDict)
    _made: int = 0

    def get(self, text: bytes) -> bytes | None:
        """The name under which *text* is prepared, or None."""
        name = self._named.get(text)
        if name is not None:
            self._named.move_to_end(text)
        return name

    def make(self, text: bytes) -> bytes | None:
        """A new name for *text*, if it has earned one; the caller prepares it."""
        if self.limit == 0 or len(text) > _LONGEST_BYTES:
            return None
        seen = hash(text)
        if seen not in self._seen:
            self._seen[seen] = None
            if len(self._seen) > self.limit:
                self._seen.popitem(last=False)
            return None
        del self._seen[seen]
        self._made += 1
        self._named[text] = name = b"tg%d" % self._made
        if len(self._named) > self.limit:
            self.evicted.append(self._named.popitem(last=False)[1])
        return name

    def forget(self, text: bytes, *, prepared: bool) -> None:
        """Drop *text*'s name; *prepared* says whether the server has it and must be told."""
        name = self._named.pop(text, None)
        if name is not None and prepared:
            self.evicted.append(name)

    def take_evicted(self) -> list[bytes]:
        """The names to close now; they are the caller's from here on."""
        evicted, self.evicted = self.evicted, []
        return evicted
