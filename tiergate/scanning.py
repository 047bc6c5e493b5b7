"""What Postgres's scanner takes too long over, the server's as well as the one that is in this process."""

import re

# It looks at a run of operator characters once for each of them, comment openings included, and nothing
# interrupts it: 16,000 took 6 s. This bound is about 25 ms.
_RUN = re.compile(r"[-+*/<>=~!@#%^&|`?]{16,}")
_MOST_WORK = 1_000_000


def is_slow_to_scan(text: str) -> bool:
    """Whether *text* holds more operator characters in a row than may be scanned."""
    return sum((run.end() - run.start()) ** 2 for run in _RUN.finditer(text)) > _MOST_WORK
