"""What is not as it was asked for."""


def differences(*facts: tuple[str, object, object]) -> str:
    """What is not as it was asked for, as a sentence; empty when all is.

    Args:
        facts: Name of each, what it is, and what was asked for.
    """
    return ", ".join(
        f"its {name} is {known or 'none'}, not {asked or 'none'}"
        for name, known, asked in facts
        if known != asked
    )
