"""What an operator pastes as a key's id goes into a URL, and so must hold no secret."""

import pytest

from tiergate.cli.options import id_of_key


@pytest.mark.parametrize("pasted", ["k7f2m4xq2a5c", "tg_k7f2m4xq2a5c_secret", "tga_k7f2m4xq2a5c_secret"])
def test_of_a_whole_key_only_its_id_is_taken(pasted: str) -> None:
    assert id_of_key(pasted) == "k7f2m4xq2a5c"
