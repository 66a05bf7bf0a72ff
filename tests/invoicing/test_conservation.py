"""Whatever happens to a small provider, all that is used is billed once or there is a reason why not.

CONSERVATION_RUNS says how often (304), CONSERVATION_STEPS with how many steps each (50), and CONSERVATION_SEED
with which chances. The other half of the runs is in test_conservation_continued.py, so that two may run at once.
"""

import pytest

from tests.invoicing.conservation import PARTS, conserves

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("part", range(PARTS // 2))
def test_all_usage_is_billed_once_or_has_a_reason(part):
    conserves(part)
