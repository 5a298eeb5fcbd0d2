"""Settings for all tests."""

import hypothesis

# Shared machines stall now and then: a slow example is no failure.
hypothesis.settings.register_profile("project", deadline=None, max_examples=50)
hypothesis.settings.load_profile("project")
