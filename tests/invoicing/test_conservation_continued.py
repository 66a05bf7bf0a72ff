"""The other half of the runs of test_conservation.py."""

import pytest

from tests.invoicing.conservation import PARTS, conserves

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("part", range(PARTS // 2, PARTS))
def test_all_usage_is_billed_once_or_has_a_reason(part):
    conserves(part)
