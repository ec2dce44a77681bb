"""How many examples a test draws that knows its own number."""

from hypothesis import settings


def examples(count: int, *, derandomize: bool = False) -> settings:
    """``count`` examples, or in the short run the same share of them as of every other test's."""
    profile = settings.default
    assert profile is not None
    drawn = max(5, count * profile.max_examples // 100)
    return settings(profile, max_examples=drawn, deadline=None, derandomize=derandomize)
