"""What the settings mean for how long a process may act on what it has heard."""

from config.load import load
from config.settings import Settings
from tiergate.limits import forget_after_s, retire_after_s


def loaded(**changed: object) -> Settings:
    required = {
        "admin.key": "k" * 32,
        "registry.url": "postgresql://u:p@db/registry",
        "secrets.master_key": "m" * 32,
    }
    return load(None, {**required, "application.sql": "/", **changed}, {})


def test_a_silent_process_is_reckoned_with_until_its_longest_answer_has_ended() -> None:
    """A stream that began just before the process takes nobody in any more may go on for an hour."""
    streams = loaded(**{"gateway.stream_timeout_s": 3600})
    asks = loaded(**{"gateway.request_timeout_s": 100, "gateway.stream_timeout_s": 1})

    assert forget_after_s(streams) > retire_after_s(streams) + 3600
    assert forget_after_s(asks) > retire_after_s(asks) + 100


def test_how_long_a_process_takes_anybody_in_is_not_a_matter_of_streams() -> None:
    one, two = (retire_after_s(loaded(**{"gateway.stream_timeout_s": span_s})) for span_s in (1, 3600))

    assert one == two
