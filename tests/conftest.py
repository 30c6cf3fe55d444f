"""What all tests share: hypothesis profiles and the place of the conformance data."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("dev", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

SHARED = Path(__file__).resolve().parents[2] / "shared"
"""Other projects' test data and the seed files, beside the checkout; tests that read them skip when it is absent."""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared test data; skips the test where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with conformance data is not beside this checkout")
    return SHARED
